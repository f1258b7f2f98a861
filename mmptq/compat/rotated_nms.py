"""Makes the NMS of rotated boxes of mmdet3d quick on a CPU; ``import mmptq`` applies it.

mmcv computes the overlap of a box with each one that scores less, also with those at the other end
of the scene. Here only boxes that are close enough to touch are compared, by the same function: the
result is the same.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .patches import replace_attribute

MOST_BOXES = 2048
AT_ONCE = 8  # pairs a box that are compared in one call; more are compared as they are needed


def skip_distant_boxes() -> Callable[[], None] | None:
    """Let mmdet3d's NMS of rotated boxes skip pairs of CPU boxes that cannot touch.

    Returns:
        Callable | None: Undoes it; None where mmdet3d is not installed.
    """
    try:
        from mmdet3d.models.layers import box3d_nms
    except ImportError:
        return None
    stock = box3d_nms.nms_rotated

    def nms_rotated(dets: Tensor, scores: Tensor, iou_threshold: float, *args, **kwargs) -> tuple:
        plain = not args and not kwargs and not dets.is_cuda and iou_threshold > 0
        if not plain or not 1 < len(dets) <= MOST_BOXES:
            return stock(dets, scores, iou_threshold, *args, **kwargs)
        kept = kept_boxes(dets, scores, iou_threshold)
        return torch.cat((dets[kept], scores[kept].reshape(-1, 1)), dim=1), kept

    return replace_attribute(box3d_nms, 'nms_rotated', nms_rotated)


@torch.no_grad()
def kept_boxes(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes that NMS keeps, by descending score.

    Args:
        boxes (Tensor): (N, 5) centre, width, height and angle.
        scores (Tensor): (N,).
        threshold (float): Overlap above 0 from which on the lower score goes.
    """
    from mmcv.ops import box_iou_rotated

    device, order = boxes.device, scores.sort(0, descending=True)[1]
    ordered = boxes[order]
    close = np.triu(_close_pairs(ordered.double().cpu().numpy()), 1)
    first, second = close.nonzero()
    known = len(first) <= AT_ONCE * len(boxes)
    if known and len(first):
        pairs = (ordered[torch.from_numpy(rows).to(device)] for rows in (first, second))
        close[first, second] = (box_iou_rotated(*pairs, aligned=True) >= threshold).cpu().numpy()
    alive = np.ones(len(boxes), bool)
    for winner in np.flatnonzero(close.any(1)):
        if not alive[winner]:
            continue
        rivals = np.flatnonzero(close[winner] & alive)
        if not known and len(rivals):
            others = ordered[torch.from_numpy(rivals).to(device)]
            overlaps = box_iou_rotated(ordered[winner : winner + 1], others)[0]
            rivals = rivals[(overlaps >= threshold).cpu().numpy()]
        alive[rivals] = False
    return order[torch.from_numpy(alive).to(device)]


def _close_pairs(boxes: np.ndarray) -> np.ndarray:
    """(N, N) bool: boxes whose circumscribed circles touch or nearly do."""
    x, y, radius = boxes[:, 0], boxes[:, 1], np.hypot(boxes[:, 2], boxes[:, 3]) / 2
    reach = (radius[:, None] + radius) * (1 + 1e-4) + 1e-4
    # Not ">": what is no number stays among the pairs.
    return ~((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 > reach**2)
