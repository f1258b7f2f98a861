"""The range with the smallest quantization error per channel, found on the tensor itself."""

import torch
from torch import Tensor

from mmptq.quantization import QScheme, choose_qparams

# Channels and candidates are tried in groups of about this many values, which stay in the
# processor's cache.
GROUP_SIZE = 2**17


def search_rows(
    rows: Tensor,
    low: Tensor,
    high: Tensor,
    scheme: QScheme,
    fractions: Tensor,
    p: float,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ranges that minimise ``sum weight * |x - x_hat|^p`` over each row.

    Both ends are tried at each fraction of their full extent; then, on an asymmetric grid, the
    upper end alone, and then the lower end alone.

    Args:
        rows (Tensor): (C, K) values, one row per scale.
        low (Tensor): (C,) minima.
        high (Tensor): (C,) maxima.
        scheme (QScheme): The grid.
        fractions (Tensor): (T,) candidates.
        p (float): Exponent of the error.
        weight (Tensor, optional): (C, K) float32; None stands for 1. Defaults to None.
    """
    size = max(1, GROUP_SIZE // rows.shape[1])
    groups = list(zip(rows.split(size), low.split(size), high.split(size), strict=True))
    weights = [None] * len(groups) if weight is None else weight.split(size)
    ends = [
        _search_group(*group, scheme, fractions, p, group_weight)
        for group, group_weight in zip(groups, weights, strict=True)
    ]
    low, high = (torch.cat(end) for end in zip(*ends, strict=True))
    return low, high


def row_errors(
    rows: Tensor,
    lows: Tensor,
    highs: Tensor,
    scheme: QScheme,
    p: float,
    weight: Tensor | None = None,
) -> Tensor:
    """``sum |x - x_hat|^p`` (T, C) of the rows (C, K) quantized on T ranges each, (T, C).

    With a ``weight`` (C, K) the error of each value is multiplied by its weight.
    """
    scale, zero_point = (q.unsqueeze(-1) for q in choose_qparams(lows, highs, scheme))
    error = (rows * (1.0 / scale)).round_()
    # Clamping to tensors in two steps is eight times faster than clamp on a CPU.
    torch.maximum(error, (scheme.qmin - zero_point).float(), out=error)
    torch.minimum(error, (scheme.qmax - zero_point).float(), out=error)
    error.mul_(scale).sub_(rows)
    error = error.square_() if p == 2 else error.abs_().pow_(p)
    if weight is not None:
        error.mul_(weight)
    return error.sum(-1)


def _search_group(
    rows: Tensor,
    low: Tensor,
    high: Tensor,
    scheme: QScheme,
    fractions: Tensor,
    p: float,
    weight: Tensor | None,
) -> tuple[Tensor, Tensor]:
    rows = rows.float()
    fractions = fractions.to(rows).unsqueeze(1)
    best_low, best_high = low, high
    best_error = row_errors(rows, low, high, scheme, p, weight)
    passes = [(True, True)] if scheme.symmetric else [(True, True), (False, True), (True, False)]
    for move_low, move_high in passes:
        start_low, start_high = best_low, best_high
        for block in fractions.split(max(1, GROUP_SIZE // rows.numel())):
            lows = block * low if move_low else start_low.expand(len(block), -1)
            highs = block * high if move_high else start_high.expand(len(block), -1)
            errors = row_errors(rows, lows, highs, scheme, p, weight)
            error, index = errors.min(0, keepdim=True)
            better = error[0] < best_error
            best_error = torch.where(better, error[0], best_error)
            best_low = torch.where(better, lows.gather(0, index)[0], best_low)
            best_high = torch.where(better, highs.gather(0, index)[0], best_high)
    return best_low, best_high
