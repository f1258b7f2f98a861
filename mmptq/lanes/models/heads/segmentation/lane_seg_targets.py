"""Training targets of lane segmentation: a class per pixel, a flag per lane position."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from mmptq.lanes.geometry.lane_raster import draw_lane


def segmentation_target(
    sample: DetDataSample, num_lanes: int, lane_width: int
) -> tuple[Tensor, Tensor]:
    """Draw the lanes of an image.

    Args:
        sample (DetDataSample): With ``gt_lanes`` and ``gt_lane_slots``.
        num_lanes (int): Number of lane positions.
        lane_width (int): Thickness in pixels of the input.

    Returns:
        tuple[Tensor, Tensor]: (H, W) int64 classes, 0 for background and 1 + position on a lane;
        (num_lanes,) float32, 1 for existing lanes. Later positions cover earlier ones. Both are on
        the CPU.

    Raises:
        ValueError: If the annotation has more positions than the head.
    """
    height, width = sample.metainfo['img_shape'][:2]
    classes = torch.zeros(height, width, dtype=torch.int64, device='cpu')
    exists = torch.zeros(num_lanes, device='cpu')
    lanes = [lane.cpu().numpy() for lane in sample.gt_lanes]
    slots = lane_slots(lanes, sample.gt_lane_slots.tolist(), (width, height), num_lanes)
    for slot, points in sorted(zip(slots, lanes, strict=True), key=lambda pair: pair[0]):
        if slot >= num_lanes:
            raise ValueError(
                f"'{sample.metainfo.get('img_path')}' has a lane at position {slot + 1}, but the "
                f'head has {num_lanes} positions: increase num_lanes of the head'
            )
        mask = draw_lane(points, (width, height), lane_width) if slot >= 0 else None
        if mask is not None:
            rows = slice(mask.top, mask.top + mask.pixels.shape[0])
            columns = slice(mask.left, mask.left + mask.pixels.shape[1])
            classes[rows, columns][torch.as_tensor(mask.pixels, device='cpu').bool()] = slot + 1
            exists[slot] = 1
    return classes, exists


def lane_slots(
    lanes: Sequence[np.ndarray],
    annotated: Sequence[int],
    image_size: tuple[int, int],
    num_lanes: int,
) -> list[int]:
    """Position of each lane, from left to right.

    If the annotation has no positions, lanes are counted from the image centre outwards: lanes that
    meet the lower border left of the centre get the positions below ``num_lanes / 2``, all others
    the positions above.

    Args:
        lanes (Sequence[np.ndarray]): (N, 2) points each, bottom to top.
        annotated (Sequence[int]): Position of each lane, -1 if unknown.
        image_size (tuple[int, int]): Width and height.
        num_lanes (int): Number of lane positions.

    Returns:
        list[int]: Position of each lane, -1 for outer lanes beyond ``num_lanes``.
    """
    if all(slot >= 0 for slot in annotated):
        return list(annotated)
    middle = image_size[0] / 2
    feet = np.array([_foot(points, image_size[1]) for points in lanes])
    left = [index for index in np.argsort(-feet) if feet[index] < middle]
    right = [index for index in np.argsort(feet) if feet[index] >= middle]
    slots = [-1] * len(lanes)
    for rank, index in enumerate(left[: num_lanes // 2]):
        slots[index] = num_lanes // 2 - 1 - rank
    for rank, index in enumerate(right[: num_lanes - num_lanes // 2]):
        slots[index] = num_lanes // 2 + rank
    return slots


def _foot(points: np.ndarray, height: int) -> float:
    """x at the lower border of the straight extension of a lane's lower half."""
    (x, y), (far_x, far_y) = points[0], points[len(points) // 2]
    rise = min(far_y - y, -1.0)  # the extension of a horizontal piece is not defined
    return float(x + (height - 1 - y) * (far_x - x) / rise)
