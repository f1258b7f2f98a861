"""Factors that let the channels of a tensor share one grid, from samples of their values."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmptq.ptq.checks.diagnosis import column_norms
from mmptq.quantization import QScheme, QuantMixin

# A channel with a range below this share of the largest one holds nothing but zeros.
DEAD = 1e-7
# Values of each channel that are looked at, about, over all samples.
NUM_VALUES = 2048
# Steps that are tried: these shares of the step that covers all values of the channel.
FRACTIONS = tuple(10 ** (-0.06 * index) for index in range(16))
# Zero points that are tried, as shares of the levels; then those between, around the best one.
SHARES = tuple(index / 16 for index in range(16))
REFINEMENTS = (1 / 32, 1 / 64)
# Shares of the differences between inputs, and between weights, that factors take away.
EVENED = ((0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
# Weights whose largest column is this many times the mean one are worth a trial.
UNEVEN = 4.0


@dataclass
class ChannelGrid:
    """Steps of the channels of a tensor on grids with one zero point.

    Attributes:
        steps (Tensor): (C,); 0 for a channel of zeros.
        zero_point (int): The integer that stands for 0, for all channels.
        unused (float): Bits that one step for all values of the tensor would leave unused, on the
            mean of the channels.
    """

    steps: Tensor
    zero_point: int
    unused: float

    def factors(self, alpha: float = 1.0) -> Tensor:
        """Factors (C,) that even out the steps: wholly for ``alpha=1``, not at all for 0.

        Their geometric mean is 1. Channels of zeros keep their numbers.
        """
        alive = self.steps > 0
        logs = self.steps.clamp(min=torch.finfo(self.steps.dtype).tiny).log()
        mean = logs[alive].mean() if alive.any() else 0.0
        return torch.where(alive, ((mean - logs) * alpha).exp(), torch.ones_like(logs))

    def ends(self, scheme: QScheme, factors: Tensor) -> tuple[float, float]:
        """Lower and upper end of the tensor after multiplication by some factors."""
        steps = (self.steps * factors).max().item()
        return (scheme.qmin - self.zero_point) * steps, (scheme.qmax - self.zero_point) * steps


def sampled_rows(x: Tensor, axis: int, count: int, extremes: bool = False) -> Tensor:
    """About ``count`` values of each channel (C, N), at evenly spread positions.

    Args:
        x (Tensor): Of a layer input.
        axis (int): Of its channels.
        count (int): Wanted values of each channel.
        extremes (bool): Whether the smallest and the largest value of each channel are added, which
            positions between may miss. Defaults to False.
    """
    rows = x.detach().transpose(0, axis).flatten(1)
    some = rows[:, :: max(1, rows.shape[1] // max(1, count))]
    if not extremes or not rows.shape[1]:
        return some.clone()
    return torch.cat([some, rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)], 1)


def find_grid(
    rows: Tensor, scheme: QScheme, activation: Callable[[Tensor], Tensor] | None = None
) -> ChannelGrid:
    """The steps and the zero point with the smallest error, relative to the channels' variances.

    For each zero point every channel finds its own best step. One zero point has to suit channels
    with different lower ends: after SiLU all reach down to -0.28, and up to 0.1 or to 100.

    Args:
        rows (Tensor): (C, K) values.
        scheme (QScheme): The grid of the tensor.
        activation (Callable, optional): What alone reads the tensor; errors count behind it.
    """
    rows = rows.float()
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    ranges = high - low
    alive = ranges > DEAD * ranges.max()
    steps = torch.zeros_like(ranges)
    if not alive.any():
        return ChannelGrid(steps, scheme.middle, 0.0)
    unused = (ranges.max() / ranges[alive]).log2().mean().item()
    search = _Search(rows[alive], low[alive], high[alive], scheme, activation)
    steps[alive], zero_point = search.run()
    return ChannelGrid(steps, zero_point, unused)


def find_own_grids(
    rows: Tensor, scheme: QScheme, activation: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Steps and zero points (C,) where each channel has its own; arguments as in ``find_grid``.

    Channels of zeros have the mean step of the others.
    """
    rows = rows.float()
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    search = _Search(rows, low, high, scheme, activation)
    search.run()
    zero_points = torch.tensor(list(search.errors), device=rows.device)
    best = torch.stack(list(search.errors.values())).argmin(0)
    steps = torch.stack([step for _, step in search.found.values()])
    steps = steps.gather(0, best[None])[0]
    alive = high - low > DEAD * (high - low).max()
    mean = steps[alive].log().mean().exp() if alive.any() else torch.ones_like(steps[:1])
    return torch.where(alive, steps, mean), zero_points[best]


def factors_by_share(layer: QuantMixin, grid: ChannelGrid) -> dict[tuple[float, float], Tensor]:
    """Factors (C,) by the shares of inputs and of weights that they even out.

    Large factors for large weights, small ones for large inputs. A channel of zeros costs its
    weights nothing: its factor makes them as large as the others, so that they do not decide about
    the range of the weight.

    Args:
        layer (QuantMixin): Without factors.
        grid (ChannelGrid): Of its input.

    Returns:
        dict[tuple[float, float], Tensor]: (0, 0) stands for no factors.
    """
    norms = column_norms(layer).to(grid.steps)
    used, alive = norms > 0, grid.steps > 0
    logs = norms.clamp(min=torch.finfo(norms.dtype).tiny).log()
    mean = logs[used].mean() if used.any() else logs.new_zeros(())
    weights = torch.where(used, logs - mean, 0.0)
    uneven = bool(weights.max() > math.log(UNEVEN)) if used.any() else False
    found = {(0.0, 0.0): torch.ones_like(grid.steps)}
    for share, weight_share in EVENED:
        if weight_share and not uneven:
            continue
        factors = grid.factors(share).log() + weight_share * weights
        left = logs - factors
        typical = left[alive & used].mean() if (alive & used).any() else mean
        factors = torch.where(used & ~alive, logs - typical, factors)
        found[share, weight_share] = factors.exp()
    return found


class _Search:
    """The search over zero points, for channels that hold something."""

    def __init__(
        self,
        rows: Tensor,
        low: Tensor,
        high: Tensor,
        scheme: QScheme,
        activation: Callable[[Tensor], Tensor] | None,
    ):
        self.rows, self.low, self.high, self.scheme = rows, low, high, scheme
        self.activation = activation
        self.target = rows if activation is None else activation(rows)
        self.variance = self.target.var(1, correction=0).clamp(min=1e-30)
        self.found: dict[int, tuple[float, Tensor]] = {}
        self.errors: dict[int, Tensor] = {}

    def run(self) -> tuple[Tensor, int]:
        """Steps (C,) and zero point."""
        scheme = self.scheme
        if scheme.symmetric:
            one_sided = scheme.signed is None and bool((self.low >= 0).all())
            best = 0 if one_sided or scheme.signed is False else scheme.middle
            self._try(best)
        else:
            levels = scheme.qmax - scheme.qmin
            for share in SHARES:
                self._try(scheme.qmin + round(share * levels))
            for distance in REFINEMENTS:
                best = min(self.found, key=lambda z: self.found[z][0])
                for sign in (-1, 1):
                    self._try(best + sign * max(1, round(distance * levels)))
            best = min(self.found, key=lambda z: self.found[z][0])
        return self.found[best][1], best

    def _try(self, zero_point: int) -> None:
        scheme = self.scheme
        if zero_point in self.found or not scheme.qmin <= zero_point <= scheme.qmax:
            return
        least, most = scheme.qmin - zero_point, scheme.qmax - zero_point
        whole = torch.zeros_like(self.high)
        for end, levels in ((self.low, least), (self.high, most)):
            if levels:  # a side without levels is clipped to 0
                whole = torch.maximum(whole, end / levels)
        best_error = torch.full_like(whole, torch.inf)
        best_step = whole
        for fraction in FRACTIONS:
            step = (whole * fraction).clamp(min=1e-30)
            value = (self.rows / step[:, None]).round_().clamp_(least, most).mul_(step[:, None])
            value = value if self.activation is None else self.activation(value)
            error = value.sub_(self.target).square_().mean(1)
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best_step = torch.where(better, step, best_step)
        self.errors[zero_point] = best_error
        self.found[zero_point] = (best_error / self.variance).mean().item(), best_step
