"""Ranges with the smallest weighted error, against brute force."""

import pytest
import torch

from mmptq.ptq.search import range_refinement
from mmptq.ptq.search.range_refinement import RefinementSettings, WeightedError, describe, refine
from mmptq.ptq.search.recorded_rows import Rows
from mmptq.quantization import FakeQuantizer, QScheme, choose_qparams

SCHEME = QScheme(bits=4)
SETTINGS = RefinementSettings(num_iters=30, lr=0.02)


def quantizer_of(x, scheme=SCHEME):
    """Calibrated by min-max."""
    quantizer = FakeQuantizer(scheme)
    quantizer.set_qparams(*choose_qparams(x.min().view(1), x.max().view(1), scheme))
    return quantizer


def brute_force(x, weight):
    """The smallest mean error over many scales and all zero points."""
    error = WeightedError([Rows(x, weight)], SCHEME)
    step = float(x.max() - x.min()) / 15
    scales = torch.linspace(0.05, 1, 96) * step
    return min(
        error.of(scale.view(1), torch.tensor([zero], dtype=torch.int32))
        for scale in scales
        for zero in range(16)
    )


def test_error_by_hand():
    rows = Rows(torch.tensor([[0.4, 1.6]]), torch.tensor([[2.0]]))
    error = WeightedError([rows], SCHEME)
    one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    # Errors -0.4 and 0.4, both with weight 2, over a sum of weights of 4.
    assert error.of(one, zero) == pytest.approx(0.16, rel=1e-5)
    rows.weight = torch.tensor([[3.0, 1.0]])
    assert WeightedError([rows], SCHEME).of(one, zero) == pytest.approx(0.16, rel=1e-5)
    rows.weight, rows.direction = torch.tensor([[2.0]]), torch.tensor([[1.0, 3.0]])
    # (-0.4 * 1 + 0.4 * 3) ** 2 over one volume.
    assert WeightedError([rows], SCHEME).of(one, zero) == pytest.approx(0.64, rel=1e-5)


@pytest.mark.parametrize('positive', [True, False])
def test_no_worse_than_brute_force(positive):
    torch.manual_seed(0)
    x = torch.randn(400, 3) ** 3
    x = x.abs() if positive else x
    weight = torch.rand(400, 1)
    quantizer = quantizer_of(x)
    before, after = refine(
        quantizer, [Rows(x[:100], weight[:100]), Rows(x[100:], weight[100:])], SETTINGS
    )
    error = WeightedError([Rows(x, weight)], SCHEME)
    assert after == pytest.approx(error.of(quantizer.scale, quantizer.zero_point), rel=1e-4)
    assert after < 0.8 * before
    assert after <= brute_force(x, weight) * 1.01
    ends = describe(quantizer)
    assert ends['low'] <= 0 <= ends['high']


def test_values_that_weigh_nothing_are_clipped():
    torch.manual_seed(0)
    x = torch.rand(200, 1)
    x[:20] = 10
    weight = torch.ones(200, 1)
    quantizer = quantizer_of(x)
    refine(quantizer, [Rows(x, weight)], SETTINGS)
    assert describe(quantizer)['high'] > 9
    weight[:20] = 0
    refine(quantizer, [Rows(x, weight)], SETTINGS)
    assert 0.9 < describe(quantizer)['high'] < 1.1


def test_descent_from_the_full_range_alone(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(500, 2).abs() ** 2
    quantizer, searched = quantizer_of(x), quantizer_of(x)
    rows = [Rows(x, torch.ones(500, 1))]
    refine(searched, rows, SETTINGS)
    monkeypatch.setattr(range_refinement, '_searched', lambda *_: [])
    before, after = refine(quantizer, rows, RefinementSettings(num_iters=60, lr=0.05))
    assert after < 0.85 * before
    torch.testing.assert_close(quantizer.scale, searched.scale, rtol=0.1, atol=0)


def test_projected_errors():
    torch.manual_seed(0)
    x = torch.randn(300, 4) ** 3
    direction = torch.zeros(300, 4)
    direction[:, 0] = 1  # only the first channel has a gradient
    x[:, 1:] *= 10
    quantizer = quantizer_of(x)
    before, after = refine(quantizer, [Rows(x, torch.ones(300, 1), direction)], SETTINGS)
    assert after < 0.2 * before
    assert describe(quantizer)['high'] < 2 * x[:, 0].abs().max()


@pytest.mark.parametrize('rows', [[], [Rows(torch.zeros(3, 2), torch.ones(3, 1))]])
def test_nothing_to_improve(rows):
    quantizer = quantizer_of(torch.tensor([0.0, 1.0]))
    scale = quantizer.scale.clone()
    assert refine(quantizer, rows, SETTINGS) == (0, 0)
    assert torch.equal(quantizer.scale, scale)
