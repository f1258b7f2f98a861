"""Which anchors are lanes."""

import torch
from torch import Tensor

from .row_lanes import RowLanes, row_lane_distances


@torch.no_grad()
def match_lane_anchors(
    anchors: RowLanes, targets: RowLanes, positive_distance: float, negative_distance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors near a lane, anchors far from all lanes, and the nearest lane of each.

    Anchors in between are neither, except where none is near a lane: then all are background.
    See section 3.5 of https://arxiv.org/abs/2010.12035.

    Args:
        anchors (RowLanes): N anchors.
        targets (RowLanes): M lanes, may be none.
        positive_distance (float): Pixels, mean over the common rows; an anchor below it is a lane.
        negative_distance (float): Pixels; an anchor above it is background.

    Returns:
        tuple[Tensor, Tensor, Tensor]: (N,) bool, (N,) bool and (N,) int64, 0 without lanes.
    """
    if not len(targets):
        background = torch.ones_like(anchors.starts, dtype=torch.bool)
        return ~background, background, torch.zeros_like(background, dtype=torch.long)
    nearest, matched = row_lane_distances(anchors, targets).min(dim=1)
    positive = nearest < positive_distance
    negative = (nearest > negative_distance) | ~positive.any()
    return positive, negative, matched
