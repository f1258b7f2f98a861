"""Errors estimated on a histogram against errors measured on the values."""

import pytest
import torch

from mmptq.observers import StreamingHistogram
from mmptq.observers.histogram_search import clipping_errors, range_errors, search_histogram
from mmptq.quantization import QScheme, choose_qparams, fake_quantize

FRACTIONS = torch.linspace(1.0, 0.05, 20, dtype=torch.float64)
SCHEMES = [
    QScheme(bits=2),
    QScheme(bits=4),
    QScheme(bits=8),
    QScheme(bits=4, symmetric=True),
    QScheme(bits=8, symmetric=True, signed=True, narrow=True),
    QScheme(bits=4, symmetric=True, signed=False),
]


def filled(x: torch.Tensor) -> StreamingHistogram:
    histogram = StreamingHistogram()
    histogram.update(x, float(x.min()), float(x.max()))
    return histogram


def raw_errors(x, lows, highs, scheme, p) -> torch.Tensor:
    scales, zero_points = choose_qparams(lows.flatten(), highs.flatten(), scheme)
    errors = [
        (x - fake_quantize(x, scale.view(1), zero_point.view(1), scheme)).abs().pow(p).sum()
        for scale, zero_point in zip(scales, zero_points, strict=True)
    ]
    return torch.stack(errors).view(lows.shape).double()


@pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)
@pytest.mark.parametrize('p', [1.0, 2.0, 2.4, 4.0])
def test_estimates_are_close(values, scheme, p):
    histogram = filled(values)
    fractions = FRACTIONS.unsqueeze(1)
    lows, highs = fractions * histogram.low, fractions * histogram.high
    estimate = range_errors(histogram, lows, highs, scheme, p)
    measured = raw_errors(values, lows, highs, scheme, p)
    # A peak of equal values sits at one point of its bin: 3 %. Nothing smaller than a bin shows.
    visible = measured > len(values) * (histogram.width / 4) ** p
    assert visible.sum() > 15
    assert torch.allclose(estimate[visible], measured[visible], rtol=0.03)
    assert (estimate[~visible] < len(values) * histogram.width**p).all()


@pytest.mark.parametrize('scheme', SCHEMES[:2], ids=QScheme.describe)
def test_search_agrees_with_brute_force(values, scheme):
    histogram = filled(values)
    low, high = histogram.low, histogram.high
    steps = scheme.qmax - scheme.qmin
    lows, highs = [], []
    for fraction in FRACTIONS:
        if low == 0 or high == 0:
            lows.append(fraction * low)
            highs.append(fraction * high)
            continue
        for below in range(steps + 1):
            scale = fraction * (high - low) / steps
            lows.append(-below * scale)
            highs.append((steps - below) * scale)
    brute = raw_errors(values, torch.stack(lows), torch.stack(highs), scheme, 2.0)
    found = search_histogram(histogram, scheme, FRACTIONS, 2.0)
    ends = torch.tensor(found).view(2, 1, 1)
    assert raw_errors(values, *ends, scheme, 2.0).item() <= 1.01 * brute.min().item()


def test_two_sided_search_moves_the_zero_point():
    # One outlier on the left: the best 4 bit range leaves it out and keeps the right side.
    x = torch.cat((torch.linspace(0, 1, 1000), torch.linspace(-0.1, 0, 100), torch.tensor([-3.0])))
    low, high = search_histogram(filled(x), QScheme(bits=4), FRACTIONS, 1.0)
    assert -0.5 < low <= 0
    assert high == pytest.approx(1.0, abs=0.1)


def test_clipping_errors_by_hand():
    # Two values spread over [1, 2], one over [2, 3]; the squares integrate to thirds.
    actual = clipping_errors(torch.tensor([0.0, 2.0, 1.0]).double(), 2.0)
    expected = [2 * 7 / 3 + 19 / 3, 2 / 3 + 7 / 3, 1 / 3, 0]
    assert actual.tolist() == pytest.approx(expected)
    assert clipping_errors(torch.zeros(0).double(), 2.0).tolist() == [0]


def test_a_grid_finer_than_the_histogram_keeps_the_full_range(values):
    histogram = filled(values)
    found = search_histogram(histogram, QScheme(bits=16), FRACTIONS, 2.0)
    assert found == (histogram.low, histogram.high)
