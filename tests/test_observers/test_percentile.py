"""The range without a small share of the values."""

import pytest
import torch

from mmptq.observers import MinMaxObserver, PercentileObserver
from mmptq.quantization import QScheme, QuantizationError


def ends(x, scheme=None, **options):
    observer = PercentileObserver(scheme or QScheme(bits=16), **options)
    for piece in x.split(3000):
        observer.update(piece)
    scale, zero_point = observer.qparams()
    scheme = observer.scheme
    low, high = ((q - zero_point) * scale for q in (scheme.qmin, scheme.qmax))
    return low.item(), high.item()


@pytest.mark.parametrize('percentile', [99.0, 99.9, 99.99])
def test_agrees_with_quantiles(values, percentile):
    low, high = ends(values, percentile=percentile)
    tolerance = float(values.abs().max()) / 1000
    share = 1 - percentile / 100
    expected = torch.quantile(values, torch.tensor([share, 1 - share])).tolist()
    # The few values beyond a high percentile lie far apart, which widens the tolerance.
    ranks = values.sort().values
    num = max(1, round(len(values) * share))
    gap = float(max(ranks[-num] - ranks[-num - 1], ranks[num] - ranks[num - 1]))
    assert low == pytest.approx(min(expected[0], 0), abs=tolerance + gap)
    assert high == pytest.approx(max(expected[1], 0), abs=tolerance + gap)


def test_a_hundred_percent_is_min_max(values):
    for scheme in (QScheme(), QScheme(symmetric=True)):
        observer, plain = PercentileObserver(scheme, percentile=100), MinMaxObserver(scheme)
        observer.update(values)
        plain.update(values)
        assert observer.qparams() == plain.qparams()


def test_symmetric_takes_magnitudes(make_values):
    x = make_values('laplace') - 0.2
    low, high = ends(x, QScheme(bits=16, symmetric=True, signed=True), percentile=99.0)
    assert high == pytest.approx(torch.quantile(x.abs(), 0.99).item(), rel=0.01)
    assert low == pytest.approx(-high, rel=1e-3)


def test_nothing_but_zero_left_falls_back_to_the_full_range():
    x = torch.zeros(100000)
    x[:2] = torch.tensor([5.0, 3.0])
    assert ends(x, percentile=99.9) == (0.0, pytest.approx(5.0))


def test_streaming_equals_one_shot(values):
    whole, pieces = PercentileObserver(QScheme()), PercentileObserver(QScheme())
    whole.update(values)
    for piece in values.split(777):
        pieces.update(piece)
    assert whole.qparams() == pieces.qparams()


@pytest.mark.parametrize('percentile', [50, 100.1, 0])
def test_bad_percentile(percentile):
    with pytest.raises(QuantizationError, match='percentile'):
        PercentileObserver(QScheme(), percentile=percentile)
