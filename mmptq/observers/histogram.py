"""Counts of values, in bounded memory, whatever the number of updates."""

import math
from typing import Any

import torch
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .observer import WEIGHT_UNIT

# Blocks of this many values stay in the processor's cache; larger ones are three times slower.
BLOCK_SIZE = 2**18
# On a GPU a few large blocks are faster.
GPU_BLOCK_SIZE = 2**23
# Rows are counted together up to this many bins.
GROUP_BINS = 2**22
# Narrower bins are of no use (SMALLEST_SCALE is 1e-10), and their reciprocal would overflow.
SMALLEST_EXPONENT = -100


class StreamingHistogram:
    """Histogram with bins of width ``2**exponent`` on both sides of zero.

    The width is the smallest power of two at which the largest magnitude seen has a bin. When a
    larger value comes, bins are merged by powers of two, which is exact: the counts depend neither
    on the order of the values nor on how they were cut into updates, and merged histograms equal
    one of all values. Exact zeros, which every grid represents without an error, have a bin of
    their own. Weights are counted as integers, in multiples of ``2**-20``, so that they are exact
    too.

    Bin ``k`` = 1, 2, ... holds ``(k - 1) * width < |x| <= k * width`` of one sign.

    Args:
        num_bins (int): The larger side is divided into at least ``num_bins`` and at most
            ``2 * num_bins`` bins; a power of two. Defaults to 2048.

    Attributes:
        low (float): Smallest value seen, at most 0.
        high (float): Largest value seen, at least 0.
        exponent (int): log2 of the bin width.
        unit (int): What a value of weight 1 adds to the counts: 1, or ``2**20`` once there was a
            weight.

    Raises:
        QuantizationError: If ``num_bins`` is not a power of two from 2 to 4096.
    """

    def __init__(self, num_bins: int = 2048):
        if num_bins not in [2**n for n in range(1, 13)]:
            raise QuantizationError(
                f'num_bins={num_bins!r} of an observer must be a power of two from 2 to 4096'
            )
        self.num_bins = num_bins
        self.low = 0.0
        self.high = 0.0
        self.exponent = SMALLEST_EXPONENT
        self.unit = 1
        self._half = 2 * num_bins
        self._counts: Tensor | None = None  # (4 * num_bins + 1,) int64, from low to high

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 2.0**self.exponent

    @property
    def num_zeros(self) -> float:
        """Number of exact zeros, or the sum of their weights."""
        return int(self._counts[self._half]) / self.unit

    @property
    def total(self) -> float:
        """Number of all values, or the sum of their weights."""
        return int(self._counts.sum()) / self.unit

    def update(self, values: Tensor, low: float, high: float, weight: Tensor | None = None) -> None:
        """Count ``values``.

        Args:
            values (Tensor): (K,), all finite; 0 where the weight is 0.
            low (float): Smallest value that counts.
            high (float): Largest value that counts.
            weight (Tensor, optional): (K,) multiples of ``2**-20``. Defaults to None.
        """
        self._extend(low, high)
        rows = None if weight is None else weight.view(1, -1)
        _count([self], values.view(1, -1), rows)

    def merge(self, other: 'StreamingHistogram') -> None:
        """Add the counts of another histogram with the same ``num_bins``."""
        self._coarsen(other.exponent)
        other._coarsen(self.exponent)
        self._extend(other.low, other.high)
        self._add(other._counts, other.unit)

    def state(self) -> dict[str, Any]:
        """CPU tensor and plain numbers, the arguments of ``from_state``."""
        return dict(
            low=self.low,
            high=self.high,
            exponent=self.exponent,
            unit=self.unit,
            counts=self._counts.cpu().clone(),
        )

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> 'StreamingHistogram':
        """Inverse of ``state``."""
        histogram = cls(len(state['counts']) // 4)
        histogram.low, histogram.high = state['low'], state['high']
        histogram.exponent, histogram.unit = state['exponent'], state['unit']
        histogram._counts = state['counts'].clone()
        return histogram

    def sides(self) -> tuple[Tensor, Tensor]:
        """Counts of negative and of positive values, float64, each from zero outwards.

        They end at the outermost bin in use; zeros are left out.
        """
        half, counts = self._half, self._counts.cpu().double() / self.unit
        negative = counts[:half].flip(0)[: math.ceil(-self.low / self.width)]
        return negative, counts[half + 1 :][: math.ceil(self.high / self.width)]

    def magnitudes(self, scheme: QScheme) -> Tensor:
        """Counts of ``|x|``, zeros left out; of positive values only for an unsigned scheme."""
        negative, positive = self.sides()
        if scheme.signed is False:
            return positive
        counts = positive.new_zeros(max(len(negative), len(positive)))
        counts[: len(negative)] += negative
        counts[: len(positive)] += positive
        return counts

    def _extend(self, low: float, high: float) -> None:
        """Make room for values from ``low`` to ``high``; for none if these are inf and -inf."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        bound = max(high, -low)
        # frexp gives bound <= 2**exponent, so that bound / width <= half.
        if bound > 0:
            self._coarsen(math.frexp(bound)[1] - int(math.log2(self._half)))

    def _coarsen(self, exponent: int) -> None:
        """Merge bins up to a width of ``2**exponent``; wider ones stay."""
        if exponent <= self.exponent:
            return
        factor = min(2 ** (exponent - self.exponent), self._half)
        self.exponent = exponent
        if self._counts is None:
            return
        negative, zeros, positive = self._counts.split((self._half, 1, self._half))
        self._counts = torch.cat(
            (_merge(negative.flip(0), factor).flip(0), zeros, _merge(positive, factor))
        )

    def _add(self, counts: Tensor, unit: int) -> None:
        """Add counts with bins of the same width."""
        if self._counts is None:
            self._counts = torch.zeros_like(counts)
        if unit > self.unit:
            self._counts *= unit // self.unit
            self.unit = unit
        self._counts.add_(counts.to(self._counts.device), alpha=self.unit // unit)


def _merge(side: Tensor, factor: int) -> Tensor:
    """Add up groups of ``factor`` bins of one side, from zero outwards; same length as before."""
    merged = side.view(-1, factor).sum(1)
    return torch.cat((merged, side.new_zeros(len(side) - len(merged))))


def _count(histograms: list[StreamingHistogram], rows: Tensor, weight: Tensor | None) -> None:
    """Add rows (C, K) to their histograms, whose bins reach far enough; many rows at once."""
    size = 2 * histograms[0]._half + 1
    # Sums of 2**18 weights are exact in float64.
    plain_gpu = weight is None and rows.is_cuda
    block_size = GPU_BLOCK_SIZE if plain_gpu else BLOCK_SIZE
    together = max(1, min(block_size // rows.shape[1], GROUP_BINS // size))
    for start in range(0, len(rows), together):
        group = histograms[start : start + together]
        blocks = rows[start : start + together].split(block_size, dim=1)
        weights = [None] * len(blocks)
        if weight is not None:
            weights = weight[start : start + together].split(block_size, dim=1)
        for block, block_weight in zip(blocks, weights, strict=True):
            counts = torch.bincount(
                _indices(group, block).flatten(),
                None if block_weight is None else block_weight.flatten().double() * WEIGHT_UNIT,
                minlength=len(group) * size,
            )
            unit = 1 if weight is None else WEIGHT_UNIT
            for histogram, row in zip(group, counts.long().view(-1, size), strict=True):
                histogram._add(row, unit)


def _indices(group: list[StreamingHistogram], rows: Tensor) -> Tensor:
    """Bins of the values (R, K) in one row of the bins of R histograms."""
    half, count = group[0]._half, len(group)
    # Multiplying by powers of two is exact.
    inverse = [2.0**-histogram.exponent for histogram in group]
    inverse = torch.tensor(inverse, dtype=torch.float32, device=rows.device)
    index = rows.float() * inverse.unsqueeze(1)
    # Away from zero, so that only zero gives zero: sign(x) * ceil(|x|).
    if all(histogram.low >= 0 for histogram in group):
        index = index.ceil_()
    elif all(histogram.high <= 0 for histogram in group):
        index = index.floor_()
    else:
        index = index.ceil().clamp_(min=0).add_(index.floor_().clamp_(max=0))
    # int16 holds every index of one histogram, and bincount is fastest on it.
    index = index.to(torch.int16).add_(half)
    if count > 1:
        offsets = torch.arange(count, dtype=torch.int32, device=rows.device) * (2 * half + 1)
        index = index.int().add_(offsets.unsqueeze(1))
    return index


def update_histograms(
    histograms: list[StreamingHistogram],
    rows: Tensor,
    low: Tensor,
    high: Tensor,
    num_bins: int,
    weight: Tensor | None = None,
) -> None:
    """Count each row of ``rows`` (C, K) in its own histogram; an empty list is filled first.

    Args:
        histograms (list[StreamingHistogram]): One for each row, or an empty list.
        rows (Tensor): (C, K) finite values; 0 where the weight is 0.
        low (Tensor): (C,) minima; inf for a row in which no value counts.
        high (Tensor): (C,) maxima; -inf for a row in which no value counts.
        num_bins (int): See :class:`StreamingHistogram`.
        weight (Tensor, optional): (C, K) multiples of ``2**-20``. Defaults to None.
    """
    if not histograms:
        histograms.extend(StreamingHistogram(num_bins) for _ in rows)
    for histogram, row_low, row_high in zip(histograms, low.tolist(), high.tolist(), strict=True):
        histogram._extend(row_low, row_high)
    _count(histograms, rows, weight)


def ends_of(ranges: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    """Lower and upper ends (C,) of C ranges."""
    low, high = torch.tensor(ranges, dtype=torch.float64, device='cpu').unbind(1)
    return low, high
