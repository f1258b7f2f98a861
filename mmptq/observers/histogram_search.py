"""The range with the smallest quantization error, found on a histogram."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from mmptq.quantization import QScheme, choose_qparams

from .histogram import StreamingHistogram

# Scales are worked on in blocks of this many, whose tables stay in the processor's cache.
BLOCK_SIZE = 16


def search_histogram(
    histogram: StreamingHistogram, scheme: QScheme, fractions: Tensor, p: float
) -> tuple[float, float]:
    """The range that minimises ``sum |x - x_hat|^p`` over the values in a histogram.

    Candidates are fractions of the full range; for two-sided values on an asymmetric grid each
    fraction is combined with every zero point. Where the grid is finer than the histogram the
    full range is returned: the bins cannot show a gain by clipping.

    Args:
        histogram (StreamingHistogram): The values.
        scheme (QScheme): The grid.
        fractions (Tensor): (T,) float64, 1 among them; the first of equally good ones wins.
        p (float): Exponent of the error.
    """
    low, high = histogram.low, histogram.high
    num_steps = scheme.qmax - scheme.qmin
    if num_steps >= (high - low) / histogram.width:
        return low, high
    if scheme.symmetric or low == 0 or high == 0:
        lows, highs = (fractions * low).unsqueeze(1), (fractions * high).unsqueeze(1)
    else:
        step = (fractions * (high - low) / num_steps).unsqueeze(1)
        below = torch.arange(num_steps + 1, dtype=torch.float64)
        lows, highs = -step * below, step * (num_steps - below)
    errors = range_errors(histogram, lows, highs, scheme, p)
    best = int(errors.argmin())
    return float(lows.flatten()[best]), float(highs.flatten()[best])


def range_errors(
    histogram: StreamingHistogram, lows: Tensor, highs: Tensor, scheme: QScheme, p: float
) -> Tensor:
    """``sum |x - x_hat|^p`` (T, Z) for T x Z ranges, if values spread evenly within each bin.

    The levels of any grid are multiples of its scale, whatever its zero point. So the error is a
    sum of three: rounding between the ends of the grid, which is a difference of two entries of
    one table per scale, and clipping below and above, each a function of one end alone.

    Args:
        histogram (StreamingHistogram): The values.
        lows (Tensor): (T, Z) float64 lower ends; all ranges of a row have the same scale.
        highs (Tensor): (T, Z) float64 upper ends.
        scheme (QScheme): The grid.
        p (float): Exponent of the error.
    """
    scale, zero_point = choose_qparams(lows.flatten(), highs.flatten(), scheme)
    scale = scale.double().view(lows.shape)
    zero_point = zero_point.view(lows.shape)
    # Ends of the grid in bins from zero.
    start = (scheme.qmin - zero_point) * scale / histogram.width
    stop = (scheme.qmax - zero_point) * scale / histogram.width

    negative, positive = histogram.sides()
    steps = scale[:, 0] / histogram.width
    blocks = zip(*(x.split(BLOCK_SIZE) for x in (steps, start, stop)), strict=True)
    inside = torch.cat([_rounding_between(negative, positive, *block, p) for block in blocks])
    below = _interpolate(clipping_errors(negative, p).expand(len(scale), -1), -start)
    above = _interpolate(clipping_errors(positive, p).expand(len(scale), -1), stop)
    return (inside + below + above) * histogram.width**p


def rounding_errors(negative: Tensor, positive: Tensor, scale: Tensor, p: float) -> Tensor:
    """Running sum (T, B + 1) of ``|x - round(x / s) s|^p`` over the bins from low to high.

    Args:
        negative (Tensor): (B1,) counts from zero outwards.
        positive (Tensor): (B2,) counts from zero outwards; B = B1 + B2.
        scale (Tensor): (T,) scales s in bins.
        p (float): Exponent of the error.
    """
    edges = torch.arange(-len(negative), len(positive) + 1, dtype=torch.float64)
    x = edges / scale.unsqueeze(1)
    level = x.round()
    offset = (x - level).float()
    # Integral of |x - round(x)|^p from 0 to x, times p + 1. float32 makes pow five times faster.
    integral = offset.abs().pow_(p + 1).copysign_(offset).double().add_(level, alpha=0.5**p)
    counts = torch.cat((negative.flip(0), positive))
    per_bin = integral.diff(dim=1).mul_(counts).mul_(scale.pow(p + 1).unsqueeze(1) / (p + 1))
    return pad(per_bin.cumsum(1), (1, 0))


def _rounding_between(
    negative: Tensor, positive: Tensor, scale: Tensor, start: Tensor, stop: Tensor, p: float
) -> Tensor:
    """Rounding error (T, Z) of the values from ``start`` to ``stop`` (T, Z), in bins from zero."""
    table = rounding_errors(negative, positive, scale, p)
    return _interpolate(table, stop + len(negative)) - _interpolate(table, start + len(negative))


def clipping_errors(counts: Tensor, p: float) -> Tensor:
    """Sum (B + 1,) of ``|x - edge|^p`` over all values beyond each bin edge, from zero outwards.

    Args:
        counts (Tensor): (B,) counts from zero outwards.
        p (float): Exponent of the error.
    """
    if len(counts) == 0:
        return counts.new_zeros(1)
    edges = np.arange(len(counts) + 1, dtype=np.float64)
    per_distance = np.diff(edges ** (p + 1)) / (p + 1)
    # A direct convolution: an FFT would lose the tail next to errors 1e10 times as large.
    sums = np.convolve(counts.flip(0).numpy(), per_distance)[: len(counts)]
    return pad(torch.from_numpy(sums).flip(0), (0, 1))


def _interpolate(table: Tensor, position: Tensor) -> Tensor:
    """Values (T, Z) of the rows of ``table`` (T, N) at fractional ``position`` (T, Z)."""
    position = position.clamp(0, table.shape[1] - 1)
    index = position.long().clamp(max=max(table.shape[1] - 2, 0))
    after = (index + 1).clamp(max=table.shape[1] - 1)
    return table.gather(1, index).lerp(table.gather(1, after), position - index)
