"""Exact, order-independent counts."""

import pytest
import torch

from mmptq.observers import StreamingHistogram
from mmptq.quantization import QScheme, QuantizationError


def filled(*pieces: torch.Tensor, num_bins: int = 2048) -> StreamingHistogram:
    histogram = StreamingHistogram(num_bins)
    for piece in pieces:
        histogram.update(piece, float(piece.min()), float(piece.max()))
    return histogram


def test_counts_by_hand():
    # The largest magnitude is 7: four to eight bins of width 1 on each side.
    x = torch.tensor([-2.5, -2.0, -1e-9, 0.0, 0.0, 1e-9, 1.0, 1.001, 7.0])
    histogram = filled(x, num_bins=4)
    negative, positive = histogram.sides()
    assert histogram.width == 1.0
    assert histogram.num_zeros == 2 and histogram.total == 9
    assert negative.tolist() == [1, 1, 1]
    assert positive.tolist() == [2, 1, 0, 0, 0, 0, 1]
    assert histogram.magnitudes(QScheme(symmetric=True)).tolist() == [3, 2, 1, 0, 0, 0, 1]
    unsigned = QScheme(symmetric=True, signed=False)
    assert histogram.magnitudes(unsigned).tolist() == positive.tolist()


def test_bins_merge_when_the_range_grows():
    first = torch.tensor([-0.6, 0.3, 0.6, 1.0])
    histogram = filled(first, num_bins=4)
    assert histogram.width == 0.25
    histogram.update(torch.tensor([3.9]), 3.9, 3.9)
    negative, positive = histogram.sides()
    assert histogram.width == 0.5
    assert negative.tolist() == [0, 1]
    assert positive.tolist() == [1, 2, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize('factor', [1.0, 1e6, 1e30])
def test_any_order_and_any_cut_gives_the_same_bits(values, factor):
    values = values * torch.linspace(1e-3, 1, len(values)) * factor
    whole = filled(values)
    for order in (values, values.flip(0), values[torch.randperm(len(values))]):
        pieces = filled(*order.split(1234))
        assert (pieces.low, pieces.high) == (whole.low, whole.high)
        assert (pieces.width, pieces.num_zeros) == (whole.width, whole.num_zeros)
        for side, expected in zip(pieces.sides(), whole.sides(), strict=True):
            assert torch.equal(side, expected)


def test_counts_agree_with_numpy(values):
    histogram = filled(values)
    negative, positive = histogram.sides()
    rounded = (values.double().abs() / histogram.width).ceil()
    for side, sign in ((negative, -1), (positive, 1)):
        mine = rounded[values.sign() == sign].long()
        assert torch.equal(side, torch.bincount(mine, minlength=len(side) + 1)[1:].double())
    assert histogram.total == len(values)
    assert histogram.num_zeros == int((values == 0).sum())


def test_number_of_bins_in_use(values):
    sides = filled(values, num_bins=256).sides()
    assert 256 <= max(len(side) for side in sides) <= 512


def test_exact_powers_of_two_stay_inside():
    for value in (1.0, 2.0, -4.0):
        negative, positive = filled(torch.tensor([value])).sides()
        side = positive if value > 0 else negative
        assert side[-1] == 1 and side.sum() == 1


@pytest.mark.parametrize('num_bins', [0, 1, 1000, 8192, 2048.5])
def test_bad_number_of_bins(num_bins):
    with pytest.raises(QuantizationError, match='power of two'):
        StreamingHistogram(num_bins)
