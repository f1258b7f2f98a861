"""Non-maximum suppression of lanes."""

import numpy as np
import torch
from torch import Tensor

from .row_lanes import RowLanes, row_lane_distances


@torch.no_grad()
def lane_nms(
    lanes: RowLanes, scores: Tensor, max_distance: float, max_kept: int | None = None
) -> Tensor:
    """Keep the best lane of each group of close lanes.

    All distances are computed at once; only the greedy selection is a loop.

    Args:
        lanes (RowLanes): N lanes.
        scores (Tensor): (N,) higher is better; the first of equal scores is preferred.
        max_distance (float): Pixels; a lane is dropped if its mean distance to a better lane over
            their common rows is smaller. Lanes without common rows do not suppress each other.
        max_kept (int, optional): Maximum number of lanes to keep.

    Returns:
        Tensor: (K,) int64 indices, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    ordered = lanes[order]
    close = (row_lane_distances(ordered, ordered) < max_distance).cpu().numpy()
    dropped = np.zeros(len(order), dtype=bool)
    kept = []
    for index in range(len(order)):
        if not dropped[index]:
            kept.append(index)
            dropped |= close[index]
        if len(kept) == max_kept:
            break
    return order[torch.as_tensor(kept, dtype=torch.long, device=order.device)]
