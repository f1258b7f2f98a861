"""The scale and zero point of one tensor with the smallest weighted error on recorded rows."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.quantization import FakeQuantizer, QScheme, choose_qparams
from mmptq.quantization.functional import fake_quantize

from .recorded_rows import Rows

SEARCH = dict(type='LpObserver', p=2.0)
# Ranges that are tried where errors are projected, as shares of the range of the rows.
FRACTIONS = 50


@dataclass(frozen=True)
class RefinementSettings:
    """How a range is refined.

    Attributes:
        num_iters (int): Steps of gradient descent on the logarithm of the scale.
        lr (float): Learning rate (Adam), falling to zero along a cosine.
    """

    num_iters: int
    lr: float


def refine(
    quantizer: FakeQuantizer, rows: list[Rows], settings: RefinementSettings
) -> tuple[float, float]:
    """Set scale and zero point, starting from those that the quantizer has.

    A search over ranges comes first, then gradient descent on the scale, then other zero points.
    Each step is kept only if the error over the rows of all processes becomes smaller.

    Args:
        quantizer (FakeQuantizer): One scale for the whole tensor.
        rows (list[Rows]): Of this process; each of them may be empty.
        settings (RefinementSettings): The descent.

    Returns:
        tuple: The error before and after.
    """
    error = WeightedError([Rows.joined(rows)] if rows else [], quantizer.scheme)
    best = quantizer.scale.clone(), quantizer.zero_point.clone()
    before = smallest = error.of(*best)
    for found in _searched(quantizer.scheme, rows, error):
        best, smallest = _better(error, best, smallest, found)
    if smallest > 0:
        for found in _descended(error, *best, smallest, settings):
            best, smallest = _better(error, best, smallest, found)
        for step in (-1, 1):
            while not quantizer.scheme.symmetric:
                moved = best[0], best[1] + step
                inside = quantizer.scheme.qmin <= int(moved[1]) <= quantizer.scheme.qmax
                now = smallest
                if inside:
                    best, smallest = _better(error, best, smallest, moved)
                if not smallest < now:
                    break
    quantizer.set_qparams(*best)
    return before, smallest


class WeightedError:
    """The weighted squared error of rows after quantization, summed over all processes.

    Args:
        rows (list[Rows]): Of this process.
        scheme (QScheme): The grid.
    """

    def __init__(self, rows: list[Rows], scheme: QScheme):
        self.rows, self.scheme = rows, scheme
        total = sum(float(row.weight.double().sum()) * _repeats(row) for row in rows)
        self.total = max(sum(parallel.gather(total)), 1e-30)

    def of(self, scale: Tensor, zero_point: Tensor) -> float:
        """The mean error."""
        with torch.no_grad():
            own = float(sum(self.loss(row, scale, zero_point).double() for row in self.rows))
        return sum(parallel.gather(own))

    def loss(self, row: Rows, scale: Tensor, zero_point: Tensor) -> Tensor:
        """The part of the mean error that is due to some rows, a scalar."""
        error = fake_quantize(row.x, scale, zero_point, self.scheme) - row.x
        if row.direction is not None:
            error = (error * row.direction).sum(1, keepdim=True)
        return (row.weight * error.square()).sum() / self.total


def _repeats(row: Rows) -> int:
    """How many values each weight is for."""
    if row.direction is not None:
        return 1
    return row.x.shape[1] // row.weight.shape[1]


def _better(
    error: WeightedError, best: tuple, smallest: float, found: tuple
) -> tuple[tuple[Tensor, Tensor], float]:
    now = error.of(*found)
    return (found, now) if now < smallest else (best, smallest)


def _searched(
    scheme: QScheme, rows: list[Rows], error: WeightedError
) -> list[tuple[Tensor, Tensor]]:
    """Scale and zero point of the best range for the rows of all processes."""
    observer = TASK_UTILS.build(dict(SEARCH, scheme=scheme))
    for row in rows:
        observer.update(row.x, row.weight.clamp(max=2**15))
    for state in parallel.from_others(observer.state):
        observer.merge([state])
    if not observer.seen:
        return []
    found = [observer.qparams()]
    if any(row.direction is not None for row in rows):
        low, high = _ends(rows)
        for fraction in torch.linspace(1, 1 / FRACTIONS, FRACTIONS, device='cpu').tolist():
            found.append(choose_qparams(fraction * low, fraction * high, scheme))
    device = error.rows[0].x.device if error.rows else torch.device('cpu')
    return [(scale.to(device), zero_point.to(device)) for scale, zero_point in found]


def _ends(rows: list[Rows]) -> tuple[Tensor, Tensor]:
    low = min(float(row.x.min()) for row in rows)
    high = max(float(row.x.max()) for row in rows)
    lows, highs = zip(*parallel.gather((low, high)), strict=True)
    return torch.tensor([min(lows)], device='cpu'), torch.tensor([max(highs)], device='cpu')


def _descended(
    error: WeightedError,
    scale: Tensor,
    zero_point: Tensor,
    start: float,
    settings: RefinementSettings,
) -> list[tuple[Tensor, Tensor]]:
    """Scales along a gradient descent: the last one, and the one with the smallest loss."""
    delta = nn.Parameter(torch.zeros_like(scale))
    optimizer = torch.optim.Adam([delta], lr=settings.lr)
    visited: list[tuple[float, Tensor]] = []
    for step in range(settings.num_iters):
        cosine = 0.5 * (1 + math.cos(math.pi * step / settings.num_iters))
        optimizer.param_groups[0]['lr'] = cosine * settings.lr
        optimizer.zero_grad()
        now = scale * delta.exp()
        losses = [error.loss(row, now, zero_point) / start for row in error.rows]
        if losses:
            torch.stack(losses).sum().backward()
        own = float(sum(loss.detach() for loss in losses)) if losses else 0.0
        parallel.mean_gradients([delta])
        visited.append((sum(parallel.gather(own)), now.detach()))
        optimizer.step()
    visited.append((math.inf, (scale * delta.exp()).detach()))
    best = min(visited, key=lambda item: item[0])[1]
    return [(best, zero_point), (visited[-1][1], zero_point)]


def describe(quantizer: FakeQuantizer) -> dict[str, Any]:
    """The ends of a grid with one scale."""
    scale, zero_point = float(quantizer.scale), int(quantizer.zero_point)
    scheme = quantizer.scheme
    return dict(low=(scheme.qmin - zero_point) * scale, high=(scheme.qmax - zero_point) * scale)
