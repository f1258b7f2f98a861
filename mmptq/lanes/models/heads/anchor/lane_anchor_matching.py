"""Assignment of anchors to lanes."""

import torch
from torch import Tensor

from .row_lanes import RowLanes, row_lane_distances


@torch.no_grad()
def match_lane_anchors(
    anchors: RowLanes, targets: RowLanes, positive_distance: float, negative_distance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Positive and negative anchors, and the nearest lane of each.

    Anchors in between are ignored, unless there is no positive anchor: then all are negative.
    See section 3.5 of https://arxiv.org/abs/2010.12035.

    Args:
        anchors (RowLanes): N anchors.
        targets (RowLanes): M lanes; M may be 0.
        positive_distance (float): Pixels, mean over the common rows; closer anchors are positive.
        negative_distance (float): Pixels; anchors farther from all lanes are negative.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Positive anchors (N,) bool, negative anchors (N,) bool, and
        index of the nearest lane (N,) int64, which is 0 without lanes.
    """
    if not len(targets):
        background = torch.ones_like(anchors.starts, dtype=torch.bool)
        return ~background, background, torch.zeros_like(background, dtype=torch.long)
    nearest, matched = row_lane_distances(anchors, targets).min(dim=1)
    positive = nearest < positive_distance
    negative = (nearest > negative_distance) | ~positive.any()
    return positive, negative, matched
