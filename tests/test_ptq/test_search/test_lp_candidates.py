"""The choice among scales."""

import pytest
import torch
from torch import nn

from mmptq.observers import LpObserver
from mmptq.ptq.search.lp_candidates import (
    Candidate,
    LayerInputs,
    _clearly_worse,
    choose,
    observed_candidates,
    weight_candidates,
)
from mmptq.quantization import FakeQuantizer, QScheme
from mmptq.quantization.layers.registry import quant_type_of


def quantizer_with(*values: float) -> tuple[FakeQuantizer, list[Candidate]]:
    quantizer = FakeQuantizer(QScheme())
    qparams = [(torch.tensor([v]), torch.tensor([0], dtype=torch.int32)) for v in values]
    return quantizer, [Candidate(float(i), q) for i, q in enumerate(qparams)]


@pytest.mark.parametrize('fast', [True, False])
def test_choice_by_hand(fast):
    quantizer, candidates = quantizer_with(3.0, 1.0, 1.05, 1.0)
    tried = []

    def evaluate(sample: int) -> float:
        tried.append(round(float(quantizer.scale), 3))
        noise = (-1) ** sample * tried[-1] / 10  # larger than what tells the better two apart
        return tried[-1] + noise

    best = choose(candidates, quantizer, evaluate, 8, fast)
    assert best is candidates[1] and float(quantizer.scale) == 1.0
    assert best.loss == pytest.approx(1.0)
    # 3 is clearly worse after the fewest samples, and 1 comes twice.
    assert tried.count(3.0) == (4 if fast else 8)
    assert tried.count(1.0) == best.num_samples * (1 if fast else 2)
    assert candidates[0].num_samples == tried.count(3.0)
    assert candidates[0].loss == pytest.approx(3.0)
    assert candidates[3].loss == best.loss


def test_clearly_worse_needs_a_clear_difference():
    best = [1.0, 2.0, 3.0, 4.0]
    assert _clearly_worse([x + 0.1 for x in best], best)
    assert not _clearly_worse([1.1, 1.9, 3.1, 4.0], best)
    assert not _clearly_worse(best, best)
    assert _clearly_worse([float('nan')] * 4, best)
    assert not _clearly_worse([float('nan')] * 4, [float('nan')] * 4)


@pytest.mark.parametrize('fast', [True, False])
def test_what_is_hardly_better_does_not_win(fast):
    quantizer, candidates = quantizer_with(1.0, 0.998, 0.98, 0.979, 1.5)
    tried = []

    def evaluate(sample: int) -> float:
        tried.append(round(float(quantizer.scale), 3))
        return tried[-1] + (-1) ** sample * 0.3  # the same for all

    best = choose(candidates, quantizer, evaluate, 8, fast, tolerance=0.01)
    assert best is candidates[2]
    assert len(tried) == (5 * 4 if fast else 5 * 8)  # decided after the fewest samples
    assert best.num_samples == (4 if fast else 8)
    assert choose(candidates, quantizer, evaluate, 8, fast, 0.5) is candidates[0]


def test_losses_that_are_not_numbers():
    quantizer, candidates = quantizer_with(3.0, 1.0)
    best = choose(candidates, quantizer, lambda i: float('nan'), 2, True)
    assert best is None and float(quantizer.scale) == 0.0


def test_candidates_are_those_of_the_observer():
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    layer.__class__ = quant_type_of(nn.Linear)
    layer.attach(QScheme(bits=4, channel_axis=0), QScheme(bits=4))
    inputs = LayerInputs(layer, {1})
    samples = [torch.randn(50, 6) for _ in range(3)]
    for index, x in enumerate(samples):
        inputs.take(index, (x,))
    (kept,) = inputs.calls
    assert torch.equal(kept[0], samples[1]) and kept[0] is not samples[1]
    found = observed_candidates(inputs.observer, [1.0, 4.0])
    for candidate in found:
        observer = LpObserver(QScheme(bits=4), p=candidate.p)
        for x in samples:
            observer.update(x)
        torch.testing.assert_close(candidate.qparams, observer.qparams())
    assert found[0].qparams[0] < found[1].qparams[0]  # a smaller p clips more
    for candidate in weight_candidates(layer, inputs, [1.0, 3.0], None):
        observer = LpObserver(QScheme(bits=4, channel_axis=0), p=candidate.p)
        observer.update(layer.weight)
        torch.testing.assert_close(candidate.qparams, observer.qparams())


def test_parts_of_maps_are_kept():
    layer = nn.Conv2d(2, 2, 1)
    layer.__class__ = quant_type_of(nn.Conv2d)
    layer.attach(None, None)
    x = torch.arange(2 * 40 * 9.0).view(1, 2, 40, 9)
    inputs = LayerInputs(layer, {0, 1})
    for sample in (0, 1, 2):
        inputs.take(sample, (x,))
    shapes = [part.shape for (part,) in inputs.calls]
    assert shapes == [(1, 2, 16, 9)] * 2
    assert not torch.equal(*(part for (part,) in inputs.calls))
    assert all(part[0, 0].flatten().diff().eq(1).all() for (part,) in inputs.calls)


def test_parts_of_maps_whose_channels_come_last_are_kept():
    layer = nn.Linear(20, 3)
    layer.__class__ = quant_type_of(nn.Linear)
    layer.attach(None, None)
    inputs = LayerInputs(layer, {0})
    inputs.take(0, (torch.zeros(1, 40, 9, 20),))
    assert [part.shape for (part,) in inputs.calls] == [(1, 16, 9, 20)]
