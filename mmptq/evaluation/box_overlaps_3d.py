"""IoU of 3D boxes with a heading, on any device that mmcv supports."""

import torch
from mmcv.ops import box_iou_rotated
from torch import Tensor

PARALLEL_ANGLE = 3e-4


def rotated_iou_3d(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Pairwise intersection over union of the volumes of rotated boxes.

    Boxes rotate around z only, so the intersection is the product of the intersections of the
    rotated ground rectangles and of the height intervals. A box with NaN or infinite values has an
    IoU of 0: a badly quantized network may predict such boxes, and the evaluation must not fail.

    Args:
        boxes1 (Tensor): (N, 7 or more) x, y, z of the bottom centre, size along x, y, z (metres)
            and yaw (radians, counter-clockwise from x), as ``LiDARInstance3DBoxes.tensor``.
        boxes2 (Tensor): (M, 7 or more).

    Returns:
        Tensor: (N, M) float32 between 0 and 1.

    Note:
        ``mmcv.ops.box_iou_rotated`` misses intersection points of rectangles with collinear edges
        (4 x 2 m moved by 2 m along its heading: 1/7 instead of 1/3). Pairs that are parallel or
        perpendicular within 3e-4 rad are therefore rotated by this angle, which changes their IoU
        by less than 1e-3.
    """
    boxes1, boxes2 = _finite_or_empty(boxes1), _finite_or_empty(boxes2)
    shape = len(boxes1), len(boxes2)
    if 0 in shape:
        return boxes1.new_zeros(shape)
    first = boxes1[:, None].expand(*shape, 7).reshape(-1, 7)
    second = boxes2[None].expand(*shape, 7).reshape(-1, 7)
    return _paired_iou_3d(first, second).view(shape)


def _paired_iou_3d(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """(N,) IoU of the boxes in the same row of two (N, 7) tensors."""
    areas = boxes1[:, 3:5].prod(1), boxes2[:, 3:5].prod(1)
    ground_iou = _paired_rectangle_iou(boxes1[:, [0, 1, 3, 4, 6]], boxes2[:, [0, 1, 3, 4, 6]])
    ground = ground_iou * sum(areas) / (1 + ground_iou)
    top = torch.minimum(boxes1[:, 2] + boxes1[:, 5], boxes2[:, 2] + boxes2[:, 5])
    intersection = ground * (top - torch.maximum(boxes1[:, 2], boxes2[:, 2])).clamp(min=0)
    union = areas[0] * boxes1[:, 5] + areas[1] * boxes2[:, 5] - intersection
    return (intersection / union.clamp(min=1e-9)).clamp(0, 1)


def _paired_rectangle_iou(rectangles1: Tensor, rectangles2: Tensor) -> Tensor:
    """(N,) IoU of (N, 5) rectangles x, y, length, width, yaw; avoids collinear edges."""
    angle = rectangles1[:, 4] - rectangles2[:, 4]
    parallel = (2 * angle).sin().abs() < 2 * PARALLEL_ANGLE
    rectangles2 = rectangles2.clone()
    rectangles2[:, 4] += parallel * PARALLEL_ANGLE
    return box_iou_rotated(rectangles1, rectangles2, aligned=True)


def _finite_or_empty(boxes: Tensor) -> Tensor:
    """First seven columns in float32; boxes with NaN, infinite or huge values become empty."""
    boxes = boxes[:, :7].float()
    # Areas of larger values overflow float32.
    sane = (boxes.abs() < 1e9).all(1, keepdim=True)
    boxes = torch.where(sane, boxes, torch.zeros_like(boxes))
    # mmcv's polygon clipping may write out of bounds for rectangles with zero area.
    boxes[:, 3:5].clamp_(min=1e-4)
    return boxes
