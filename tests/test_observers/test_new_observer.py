"""The observer of docs/development/add_observer.md works everywhere, unknown to shared code."""

from pathlib import Path

import pytest
import torch
from doc_examples import python_example, run_example
from helpers import QUANTIZER
from mmengine.logging import MMLogger
from mmengine.registry import TASK_UTILS
from torch import nn

from mmptq.ptq import Calibrator, PTQContext
from mmptq.ptq.run import prepare_model
from mmptq.quantization import QScheme

PAGE = 'docs/development/add_observer.md'


@pytest.fixture
def observer_type():
    yield run_example(PAGE)['MeanMagnitudeObserver']
    TASK_UTILS._module_dict.pop('MeanMagnitudeObserver')


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 20, 1)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode):
        return self.conv(inputs)


def test_in_a_calibrator(observer_type, tmp_path: Path):
    MMLogger.get_instance('test_new_observer')
    model = Detector().eval()
    batches = [torch.full((1, 3, 2, 2), value) for value in (-1.0, 4.0)]
    ctx = PTQContext(model, [dict(inputs=x) for x in batches], tmp_path, seed=0)
    prepare_model(ctx, QUANTIZER)
    Calibrator(act_observer=dict(type='MeanMagnitudeObserver', factor=2.0)).run(ctx)
    # The mean magnitude is 2.5: the range is -5 to 5.
    scale = model.conv.input_quantizer.scale
    torch.testing.assert_close(scale, torch.tensor([10 / 255]))


def test_weights_and_merging(observer_type):
    scheme = QScheme(channel_axis=0)
    x = torch.tensor([[1.0, -3.0, 9.0], [2.0, 2.0, 9.0]])
    observers = [observer_type(scheme, factor=1.0) for _ in range(3)]
    observers[0].update(x[:, :2])
    observers[1].update(x[:, 2:], torch.tensor([[2.0], [0.0]]))
    observers[2].merge([observer.state() for observer in observers[:2]])
    # Channel 0: (1 + 3 + 2 * 9) / 4 = 5.5; channel 1: 2.
    torch.testing.assert_close(observers[2].qparams()[0], torch.tensor([11.0, 4.0]) / 255)


def test_the_example_is_short():
    assert len(python_example(PAGE).splitlines()) < 40
