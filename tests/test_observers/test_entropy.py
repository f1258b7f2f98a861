"""The range by Kullback-Leibler divergence."""

import pytest
import torch

from mmptq.observers import EntropyObserver
from mmptq.observers.entropy import kl_divergence
from mmptq.quantization import QScheme, QuantizationError

SYMMETRIC = QScheme(symmetric=True, signed=True)


def threshold(x, scheme=SYMMETRIC, **options):
    observer = EntropyObserver(scheme, **options)
    for piece in x.split(7000):
        observer.update(piece)
    scale, zero_point = observer.qparams()
    return ((scheme.qmax - zero_point) * scale).item()


def divergence_by_definition(counts, start, stop, num_levels) -> float:
    """The definition, bin by bin."""
    inside = counts[start:stop]
    reference = inside.clone()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[stop:].sum()
    level = torch.arange(len(inside)) * num_levels // len(inside)
    coarse = torch.zeros_like(inside)
    for index in range(num_levels):
        group = (level == index) & (inside > 0)
        coarse[group] = inside[level == index].sum() / group.sum()
    p, q = reference / reference.sum(), coarse / coarse.sum()
    if ((p > 0) & (q == 0)).any():
        return float('inf')
    used = p > 0
    return float((p[used] * (p[used] / q[used]).log()).sum())


def test_divergence_follows_its_definition():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 5, (60,), generator=generator).double() ** 2
    cuts = [(0, 60), (0, 59), (0, 41), (3, 60), (5, 50), (7, 31), (20, 28), (11, 53)]
    starts, stops = torch.tensor(cuts).unbind(1)
    for num_levels in (2, 5, 8):
        actual = kl_divergence(counts, starts, stops, num_levels)
        expected = [divergence_by_definition(counts, *cut, num_levels) for cut in cuts]
        assert torch.allclose(actual, torch.tensor(expected).double(), atol=1e-9)
        assert torch.isinf(actual).any() and torch.isfinite(actual).any()


def test_a_grid_of_as_many_levels_as_bins_costs_nothing():
    counts = torch.tensor([4.0, 0.0, 1.0, 7.0, 2.0]).double()
    full = kl_divergence(counts, torch.tensor([0]), torch.tensor([5]), 5)
    assert full.item() == pytest.approx(0, abs=1e-12)


def test_sparse_tensors_are_ruined(sparse_values):
    """Zeros that count hide the large values; without them half the range is still lost."""
    largest = float(sparse_values.max())
    counted, left_out = (threshold(sparse_values, count_zeros=flag) for flag in (True, False))
    assert counted == pytest.approx(0.06 * largest, rel=0.5)
    assert left_out == pytest.approx(0.39 * largest, rel=0.25)
    assert threshold(sparse_values, QScheme(), count_zeros=True) < 0.15 * largest


def test_outliers_are_cut_off(make_values):
    x = make_values('gaussian', 100000)
    x[0] = 30.0
    assert 3 < threshold(x) < 8


@pytest.mark.parametrize('scheme', [QScheme(), QScheme(bits=4), SYMMETRIC], ids=QScheme.describe)
def test_range_stays_inside_the_data(values, scheme):
    observer = EntropyObserver(scheme)
    observer.update(values)
    scale, zero_point = observer.qparams()
    low, high = ((q - zero_point) * scale for q in (scheme.qmin, scheme.qmax))
    slack = 1.01 * float(values.abs().max()) + scale
    assert high <= slack and low >= -slack
    assert (high - low) > 0.05 * (values.max() - values.min())


def test_streaming_equals_one_shot(values):
    whole, pieces = EntropyObserver(QScheme()), EntropyObserver(QScheme())
    whole.update(values)
    for piece in values.split(777):
        pieces.update(piece)
    assert whole.qparams() == pieces.qparams()


def test_bad_number_of_candidates():
    with pytest.raises(QuantizationError, match='num_candidates'):
        EntropyObserver(QScheme(), num_candidates=0)
