"""Lane points under image transforms and their inverses."""

from collections.abc import Sequence

import numpy as np
import torch


def move_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply an affine transform to points.

    Args:
        points (np.ndarray): (N, 2) x and y in pixels.
        matrix (np.ndarray): (3, 3), last row (0, 0, 1).

    Returns:
        np.ndarray: (N, 2) float64.
    """
    return np.asarray(points, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]


def clip_lane(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Clip a lane to the image; it then ends on the border that it crosses.

    The image extends from 0 to ``width - 1`` and from 0 to ``height - 1``, the centres of its outer
    pixels. If a lane leaves the image and comes back, only the longest part is kept.

    Args:
        points (np.ndarray): (N, 2) x and y in pixels, in order along the lane.
        width (int): Width of the image.
        height (int): Height of the image.

    Returns:
        np.ndarray: (M, 2) float64; empty if no more than a point is inside.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    start, end = points[:-1], points[1:]
    low, high = _inside(start, end - start, np.array([width - 1.0, height - 1.0]))
    enter = start + low[:, None] * (end - start)
    leave = np.where(high[:, None] == 1, end, start + high[:, None] * (end - start))
    inside = np.flatnonzero(low <= high)
    gaps = (np.diff(inside) > 1) | (low[inside[1:]] > 0) | (high[inside[:-1]] < 1)
    runs = np.split(inside, np.flatnonzero(gaps) + 1)
    parts = [np.concatenate([enter[run[:1]], leave[run]]) for run in runs]
    longest = max(parts, key=_extent)
    return longest if _extent(longest) > 0 else np.empty((0, 2))


def bottom_to_top(points: np.ndarray) -> np.ndarray:
    """The lane with its lower end (larger y) first, as the data sets store it."""
    return points[::-1] if len(points) and points[0, 1] < points[-1, 1] else points


def lanes_to_original(lanes: Sequence, metainfo: dict) -> list:
    """Predicted lanes in pixels of the original image.

    Args:
        lanes (Sequence[np.ndarray or Tensor]): (N, 2) points each, in pixels of the model's input.
        metainfo (dict): Meta information of the data sample; its ``homography_matrix`` maps the
            original image to the input.

    Returns:
        list[np.ndarray or Tensor]: (N, 2) each; kinds, types and devices are those of ``lanes``.
    """
    inverse = np.linalg.inv(np.asarray(metainfo['homography_matrix'], dtype=np.float64))
    moved = []
    for lane in lanes:
        if isinstance(lane, torch.Tensor):
            # Half precision is too coarse for the product.
            points = lane.to(torch.promote_types(lane.dtype, torch.float32))
            matrix = points.new_tensor(inverse.tolist())
            moved.append((points @ matrix[:2, :2].T + matrix[:2, 2]).to(lane.dtype))
        else:
            moved.append(move_points(lane, inverse).astype(lane.dtype))
    return moved


def _extent(points: np.ndarray) -> float:
    """Length of a lane in pixels; 0 for fewer than two points."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _inside(
    start: np.ndarray, step: np.ndarray, corner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of each segment at which it enters and leaves 0 <= (x, y) <= corner.

    Args:
        start (np.ndarray): (S, 2) first points.
        step (np.ndarray): (S, 2) vectors from the first to the last point.
        corner (np.ndarray): (2,) largest x and y.

    Returns:
        tuple[np.ndarray, np.ndarray]: (S,) each; the first is larger if a segment is outside.
    """
    still = step == 0
    divisor = np.where(still, 1, step)
    borders = np.stack([-start / divisor, (corner - start) / divisor])
    reach = np.where((start >= 0) & (start <= corner), 2, -2)  # out of the range 0 to 1
    near = np.where(still, -reach, borders.min(axis=0))
    far = np.where(still, reach, borders.max(axis=0))
    return near.max(axis=1).clip(min=0), far.min(axis=1).clip(max=1)
