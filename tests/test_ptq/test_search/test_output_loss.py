"""The distance of the outputs from the float ones: exact values, and what is left out."""

import pytest
import torch
from helpers import QUANTIZER
from torch import nn

from mmptq.ptq import PTQContext
from mmptq.ptq.run import prepare_model
from mmptq.ptq.search.output_loss import OutputLoss
from mmptq.ptq.search.output_parts import OutputPart
from mmptq.ptq.stages.calibrator import Calibrator
from mmptq.quantization import QuantizationError


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(2))
            self.second.weight.fill_(1.0)

    def forward(self, x):
        return self.first(x), dict(sum=self.second(x))


def context(model, batches, folder):
    ctx = PTQContext(model.eval(), batches, folder, seed=0)
    prepare_model(ctx, QUANTIZER)
    Calibrator().run(ctx)
    return ctx


BATCHES = [torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.tensor([[5.0, 10.0], [7.0, 14.0]])]


def test_relative_squared_error_of_what_a_model_returns(tmp_path):
    ctx = context(TwoOutputs(), BATCHES, tmp_path)
    with OutputLoss(ctx) as loss:
        assert len(loss) == 2
        assert loss(set()).tolist() == [0.0, 0.0]
        # Columns have the variances 5 and 20; one is moved by 1, the other by 0, in 'output 0'.
        ctx.layers['first'].module.bias = nn.Parameter(torch.tensor([1.0, 0.0]))
        assert loss.by_part(set()) == pytest.approx({'output 0': 1 / 5 / 2, 'output 1': 0.0})
        assert loss(set()).tolist() == pytest.approx([0.05, 0.05])


def test_only_some_layers_are_quantized(tmp_path):
    ctx = context(TwoOutputs(), BATCHES, tmp_path)
    with OutputLoss(ctx, num_samples=1) as loss:
        ctx.layers['first'].module.input_quantizer.scale.fill_(4.0)
        assert len(loss) == 1
        assert loss({'second'}).mean() < 1e-4 < loss({'first'}).mean()
        assert loss({'first'}, ('weight',)).mean() == 0
        assert loss().mean() == pytest.approx(loss({'first', 'second'}).mean())
        assert loss.by_part({'first'})['output 1'] == 0


class ManyRows(nn.Module):
    """Gives as many rows as there are values above 1."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.fill_(1.0)

    def forward(self, x):
        y = self.layer(x)
        return y[y[:, 0] > 1]


def test_rows_that_the_network_chooses_are_refused(tmp_path):
    ctx = context(ManyRows(), [torch.linspace(0, 2, 50)[:, None]], tmp_path)
    with OutputLoss(ctx) as loss:
        ctx.layers['layer'].module.input_quantizer.scale.fill_(3.0)
        with pytest.raises(QuantizationError, match="'output 0' have other rows"):
            loss()


def test_scores_and_boxes(tmp_path, monkeypatch):
    """Two positions, one of them background: scores count by confidence, boxes by GIoU."""
    ctx = context(TwoOutputs(), BATCHES[:1], tmp_path)
    scores, boxes = torch.tensor([[0.55], [0.0]]), torch.tensor([[0.0, 0, 2, 2], [0, 0, 9, 9]])

    def reader(data):
        return [
            OutputPart('head.scores', 'scores', scores.clone(), scores.amax(1)),
            OutputPart('head.boxes', 'boxes', boxes.clone(), scores.amax(1)),
        ]

    monkeypatch.setattr('mmptq.ptq.search.output_loss.head_reader', lambda ctx: reader)
    with OutputLoss(ctx) as loss:
        assert loss().tolist() == [0.0]
        boxes[0, 2] = 1.0  # half of the box: IoU and GIoU are 0.5
        boxes[1] = 0.0
        assert loss.by_part() == pytest.approx({'head.scores': 0.0, 'head.boxes': 0.25})
        # A new detection of score 0.3 with weight 0.25^2, against 0.55^2 of weight 0.5^2.
        scores[1, 0] = 0.3
        expected = 0.25**2 * 0.3**2 / (0.5**2 * 0.55**2)
        assert loss.by_part()['head.scores'] == pytest.approx(expected)
        assert loss().tolist() == pytest.approx([(expected + 0.25) / 2])


def test_a_model_that_finds_nothing_is_compared_by_its_layers(tmp_path, monkeypatch):
    ctx = context(TwoOutputs(), BATCHES, tmp_path)
    nothing = torch.zeros(3, 1)
    part = OutputPart('head.scores', 'scores', nothing, nothing[:, 0])
    monkeypatch.setattr('mmptq.ptq.search.output_loss.head_reader', lambda ctx: lambda data: [part])
    with OutputLoss(ctx) as loss:
        assert list(loss.by_part()) == ['output 0', 'output 1']


def test_outputs_without_numbers(tmp_path):
    class Nothing(TwoOutputs):
        def forward(self, x):
            return [str(y) for y in super().forward(x)]

    ctx = context(Nothing(), BATCHES, tmp_path)
    with pytest.raises(QuantizationError, match='no numbers that can be compared'):
        OutputLoss(ctx)
