"""Cells of a heatmap that stand for one lane each."""

import torch
from torch import Tensor


def keep_apart(scores: Tensor, peaks: Tensor, radius: float) -> Tensor:
    """Leave out peaks that are close to a better one.

    Args:
        scores (Tensor): (h, w); of equal peaks the first one is the better.
        peaks (Tensor): (h, w) bool.
        radius (float): Peaks that are no farther from a better one that stays are left out.

    Returns:
        Tensor: (h, w) bool.
    """
    cells = peaks.nonzero()
    order = torch.argsort(scores[peaks], descending=True, stable=True)
    kept: list[list[int]] = []
    for y, x in cells[order].tolist():
        if all((y - other) ** 2 + (x - column) ** 2 > radius**2 for other, column in kept):
            kept.append([y, x])
    mask = torch.zeros_like(peaks)
    if kept:
        ys, xs = torch.tensor(kept, device=peaks.device).T
        mask[ys, xs] = True
    return mask
