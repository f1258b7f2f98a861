"""Lanes as pixels: the curve through the points, its drawing, and the IoU of two drawings."""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.linalg import solveh_banded

SAMPLES_PER_SEGMENT = 50
# Coordinates are clipped to this value because OpenCV stores them as integers.
FARTHEST = 10**6


class LaneMask(NamedTuple):
    """Pixels of one drawn lane.

    Attributes:
        pixels (np.ndarray): (h, w) uint8, 1 on the lane; only the part of the image around it.
        left (int): First column of ``pixels`` in the image.
        top (int): First row of ``pixels`` in the image.
        area (int): Number of lane pixels.
    """

    pixels: np.ndarray
    left: int
    top: int
    area: int


def interpolate_lane(points: np.ndarray) -> np.ndarray:
    """Sample the curve that CULane's evaluator fits to the points of a lane.

    Three or more points give a natural cubic spline in the order of the file, with x and y as
    functions of the length of the polyline and 50 samples per segment. Two points are returned
    unchanged.

    Note:
        CULane's evaluator divides by zero at repeated points; here they are skipped.

    Args:
        points (np.ndarray): (N, 2) x and y in pixels.

    Returns:
        np.ndarray: (M, 2) float32; empty for fewer than two points.
    """
    points = np.asarray(points, dtype=np.float32).astype(np.float64)
    if len(points) < 2:
        return np.empty((0, 2), dtype=np.float32)
    if len(points) > 2:
        moved = np.any(np.diff(points, axis=0) != 0, axis=1)
        points = points[np.concatenate([[True], moved])]
    if len(points) < 3:
        return points.astype(np.float32)
    steps = np.diff(points, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])[:, None]
    slopes = steps / lengths
    curvature = _curvature(lengths, slopes)
    linear = slopes - lengths * (2 * curvature[:-1] + curvature[1:]) / 6
    cubic = np.diff(curvature, axis=0) / (6 * lengths)
    along = lengths * (np.arange(SAMPLES_PER_SEGMENT) / SAMPLES_PER_SEGMENT)
    samples = np.empty((len(steps) * SAMPLES_PER_SEGMENT + 1, 2), dtype=np.float32)
    samples[-1] = points[-1]
    for axis in range(2):  # x and y separately: numpy is faster on long rows
        constant, first, second, third = (
            terms[: len(steps), axis, None] for terms in (points, linear, curvature / 2, cubic)
        )
        samples[:-1, axis] = (constant + along * (first + along * (second + along * third))).ravel()
    return samples


def _curvature(lengths: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Second derivatives of a natural cubic spline, (N, 2), at its knots.

    Args:
        lengths (np.ndarray): (N - 1, 1) parameter steps between knots.
        slopes (np.ndarray): (N - 1, 2) slopes of the chords.
    """
    curvature = np.zeros((len(slopes) + 1, 2))
    bands = np.zeros((2, len(slopes) - 1))
    bands[0, 1:] = lengths[1:-1, 0]
    bands[1] = 2 * (lengths[:-1, 0] + lengths[1:, 0])
    bends = 6 * np.diff(slopes, axis=0)
    if len(bends) == 1:  # LAPACK refuses a 1x1 matrix
        curvature[1] = bends[0] / bands[1, 0]
    else:
        curvature[1:-1] = solveh_banded(bands, bends, check_finite=False)
    return curvature


def pen_path(points: np.ndarray) -> np.ndarray:
    """Corners of the pixel path along which a lane is drawn.

    Samples are rounded half to even. For speed, samples that do not change the drawing are left
    out: repetitions, and samples within a run of equal steps of at most one pixel.

    Args:
        points (np.ndarray): (N, 2) x and y in pixels.

    Returns:
        np.ndarray: (K, 2) int32; empty for fewer than two points.
    """
    path = np.rint(interpolate_lane(points)).clip(-FARTHEST, FARTHEST).astype(np.int32)
    if len(path) < 3:
        return path
    moved = (path[1:, 0] != path[:-1, 0]) | (path[1:, 1] != path[:-1, 1])
    path = path[np.concatenate([[True], moved])]
    if len(path) == 1:  # OpenCV draws a disc for two equal points, but nothing for one
        return np.repeat(path, 2, axis=0)
    steps_x, steps_y = np.diff(path[:, 0]), np.diff(path[:, 1])
    turns = (steps_x[1:] != steps_x[:-1]) | (steps_y[1:] != steps_y[:-1])
    long = (np.abs(steps_x[1:]) > 1) | (np.abs(steps_y[1:]) > 1)
    return path[np.concatenate([[True], turns | long, [True]])]


def draw_lane(points: np.ndarray, image_size: tuple[int, int], lane_width: int) -> LaneMask | None:
    """Draw a lane as CULane's evaluator does, with an OpenCV line from sample to sample.

    Args:
        points (np.ndarray): (N, 2) x and y in pixels.
        image_size (tuple[int, int]): Width and height; the drawing is clipped to it.
        lane_width (int): Thickness of the line in pixels.

    Returns:
        LaneMask or None: None for a lane with fewer than two points or outside the image.
    """
    path = pen_path(points)
    if not len(path):
        return None
    reach = lane_width // 2 + 2
    left, top = np.maximum(path.min(axis=0) - reach, 0).tolist()
    right, bottom = np.minimum(path.max(axis=0) + reach + 1, image_size).tolist()
    if right <= left or bottom <= top:
        return None
    pixels = np.zeros((bottom - top, right - left), dtype=np.uint8)
    path = path - np.array([left, top], dtype=np.int32)
    cv2.polylines(pixels, [path.reshape(-1, 1, 2)], False, 1, lane_width, cv2.LINE_8)
    area = cv2.countNonZero(pixels)
    return LaneMask(pixels, left, top, area) if area else None


def lane_ious(
    gt_lanes: list[np.ndarray],
    pred_lanes: list[np.ndarray],
    image_size: tuple[int, int],
    lane_width: int,
) -> np.ndarray:
    """IoU of drawn lanes, every ground truth with every prediction.

    A lane with fewer than two points or outside the image has IoU 0 with all others.

    Args:
        gt_lanes (list[np.ndarray]): (N, 2) points in pixels each.
        pred_lanes (list[np.ndarray]): (N, 2) points in pixels each.
        image_size (tuple[int, int]): Width and height.
        lane_width (int): Thickness in pixels.

    Returns:
        np.ndarray: (num_gt, num_pred) float64.
    """
    ious = np.zeros((len(gt_lanes), len(pred_lanes)))
    if not ious.size:
        return ious
    gt_masks = [draw_lane(points, image_size, lane_width) for points in gt_lanes]
    pred_masks = [draw_lane(points, image_size, lane_width) for points in pred_lanes]
    for row, gt_mask in enumerate(gt_masks):
        for column, pred_mask in enumerate(pred_masks):
            if gt_mask is not None and pred_mask is not None:
                common = _common_area(gt_mask, pred_mask)
                ious[row, column] = common / (gt_mask.area + pred_mask.area - common)
    return ious


def _common_area(one: LaneMask, other: LaneMask) -> int:
    """Number of pixels in both drawings."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    right = min(one.left + one.pixels.shape[1], other.left + other.pixels.shape[1])
    bottom = min(one.top + one.pixels.shape[0], other.top + other.pixels.shape[0])
    if right <= left or bottom <= top:
        return 0
    views = [
        mask.pixels[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
        for mask in (one, other)
    ]
    return cv2.countNonZero(cv2.bitwise_and(*views))
