"""Counts of values, in bounded memory, whatever the number of updates."""

import math

import torch
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

# Blocks of this many values stay in the processor's cache; larger ones are three times slower.
BLOCK_SIZE = 2**18
# Narrower bins are of no use (SMALLEST_SCALE is 1e-10), and their reciprocal would overflow.
SMALLEST_EXPONENT = -100


class StreamingHistogram:
    """Histogram with bins of width ``2**exponent`` on both sides of zero.

    The width is the smallest power of two at which the largest magnitude seen has a bin. When a
    larger value comes, bins are merged by powers of two, which is exact: the counts depend neither
    on the order of the values nor on how they were cut into updates. Exact zeros, which every grid
    represents without an error, have a bin of their own.

    Bin ``k`` = 1, 2, ... holds ``(k - 1) * width < |x| <= k * width`` of one sign.

    Args:
        num_bins (int): The larger side is divided into at least ``num_bins`` and at most
            ``2 * num_bins`` bins; a power of two. Defaults to 2048.

    Attributes:
        low (float): Smallest value seen, at most 0.
        high (float): Largest value seen, at least 0.
        exponent (int): log2 of the bin width.

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
        self._half = 2 * num_bins
        self._counts: Tensor | None = None

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 2.0**self.exponent

    @property
    def num_zeros(self) -> int:
        """Number of exact zeros."""
        return int(self._counts[self._half])

    @property
    def total(self) -> int:
        """Number of all values."""
        return int(self._counts.sum())

    def update(self, values: Tensor, low: float, high: float) -> None:
        """Count ``values`` (K,), all finite, of which ``low`` and ``high`` are the extremes."""
        if self._counts is None:
            self._counts = values.new_zeros(2 * self._half + 1, dtype=torch.int64)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(high, -low))
        for block in values.split(BLOCK_SIZE):
            # int16 holds every index, and bincount is fastest on it.
            index = self._round_outwards(block.float() * 2.0**-self.exponent, low, high)
            index = index.to(torch.int16).add_(self._half)
            self._counts += torch.bincount(index, minlength=len(self._counts))

    def sides(self) -> tuple[Tensor, Tensor]:
        """Counts of negative and of positive values, float64, each from zero outwards.

        They end at the outermost bin in use; zeros are left out.
        """
        half, counts = self._half, self._counts.cpu().double()
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

    def _widen(self, bound: float) -> None:
        """Make the bins wide enough for a magnitude of ``bound``."""
        # frexp gives bound <= 2**exponent, so that bound / width <= half.
        exponent = math.frexp(bound)[1] - int(math.log2(self._half)) if bound else -math.inf
        if exponent <= self.exponent:
            return
        factor = min(2 ** (exponent - self.exponent), self._half)
        self.exponent = exponent
        negative, zeros, positive = self._counts.split((self._half, 1, self._half))
        self._counts = torch.cat(
            (_merge(negative.flip(0), factor).flip(0), zeros, _merge(positive, factor))
        )

    @staticmethod
    def _round_outwards(x: Tensor, low: float, high: float) -> Tensor:
        """``sign(x) * ceil(|x|)``, in place; only zero gives zero."""
        if low >= 0:
            return x.ceil_()
        if high <= 0:
            return x.floor_()
        return x.ceil().clamp_(min=0).add_(x.floor_().clamp_(max=0))


def _merge(side: Tensor, factor: int) -> Tensor:
    """Add up groups of ``factor`` bins of one side, from zero outwards; same length as before."""
    merged = side.view(-1, factor).sum(1)
    return torch.cat((merged, side.new_zeros(len(side) - len(merged))))


def update_histograms(
    histograms: list[StreamingHistogram], rows: Tensor, low: Tensor, high: Tensor, num_bins: int
) -> None:
    """Count each row of ``rows`` (C, K) in its own histogram; an empty list is filled first."""
    if not histograms:
        histograms.extend(StreamingHistogram(num_bins) for _ in rows)
    for histogram, row, row_low, row_high in zip(
        histograms, rows, low.tolist(), high.tolist(), strict=True
    ):
        histogram.update(row, row_low, row_high)


def ends_of(ranges: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    """Lower and upper ends (C,) of C ranges."""
    low, high = torch.tensor(ranges, dtype=torch.float64).unbind(1)
    return low, high
