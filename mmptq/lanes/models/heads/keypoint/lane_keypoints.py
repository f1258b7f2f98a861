"""Lanes as keypoints on the cells of a feature map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class KeypointTargets:
    """Training targets of a keypoint head for one image.

    Attributes:
        heatmap (np.ndarray): (H, W) float32, a Gaussian with maximum 1 at each keypoint.
        cells (np.ndarray): (K, 2) int64, x and y of the cells with a keypoint, without duplicates.
        compensations (np.ndarray): (K, 2) float32, from the cell to the keypoint, in cells.
        offsets (np.ndarray): (K, 2) float32, from the keypoint to the start of its lane, in cells.
        curves (np.ndarray): (L, num_keypoints, 2) int64, x and y of cells along each lane.
    """

    heatmap: np.ndarray
    cells: np.ndarray
    compensations: np.ndarray
    offsets: np.ndarray
    curves: np.ndarray


def encode_keypoints(
    lanes: Sequence[np.ndarray],
    shape: tuple[int, int],
    num_keypoints: int,
    num_curve_points: int,
    radius: int,
) -> KeypointTargets:
    """Targets of one image.

    A lane starts at its lowest point. If a cell has several keypoints, the highest of the last lane
    is used.

    Args:
        lanes (Sequence[np.ndarray]): (P, 2) points each, x and y in cells.
        shape (tuple[int, int]): H and W in cells.
        num_keypoints (int): Number of keypoints per lane, evenly spaced in y.
        num_curve_points (int): The same for ``curves``.
        radius (int): Radius of the Gaussian in cells; its standard deviation is (2 radius + 1) / 6.

    Returns:
        KeypointTargets: Targets of the lanes that span more than one y.
    """
    lanes = [lane for lane in lanes if len(lane) and np.ptp(lane[:, 1]) > 0]
    keypoints = np.empty((0, 2))
    starts = np.empty((0, 2))
    if lanes:
        resampled = [_resample(lane, num_keypoints) for lane in lanes]
        keypoints = np.concatenate(resampled)
        starts = np.concatenate([np.broadcast_to(lane[0], lane.shape) for lane in resampled])
    cells = _to_cells(keypoints, shape)
    # The last of equal cells: np.unique returns the first, so the order is reversed.
    _, last = np.unique(cells[::-1], axis=0, return_index=True)
    last = len(cells) - 1 - last
    curves = [_to_cells(_resample(lane, num_curve_points), shape) for lane in lanes]
    return KeypointTargets(
        heatmap=draw_gaussians(cells[last], shape, radius),
        cells=cells[last],
        compensations=(keypoints - cells)[last].astype(np.float32),
        offsets=(starts - keypoints)[last].astype(np.float32),
        curves=np.array(curves, dtype=np.int64).reshape(-1, num_curve_points, 2),
    )


def match_points(pred: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Match predicted points one-to-one to curve points.

    Args:
        pred (np.ndarray): (N, P, 2) predicted points.
        curves (np.ndarray): (N, G, 2) points of the lane that each prediction belongs to, G >= P.

    Returns:
        np.ndarray: (N, P, 2) points of the curves with the smallest sum of squared distances.
    """
    matched = np.empty_like(pred)
    for index, (points, curve) in enumerate(zip(pred, curves, strict=True)):
        _, chosen = linear_sum_assignment(cdist(points, curve, 'sqeuclidean'))
        matched[index] = curve[chosen]
    return matched


def group_keypoints(
    keypoints: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    start_height: float,
    max_distance: float,
) -> list[np.ndarray]:
    """Group keypoints to lanes by the start that they point to.

    Keypoints close to their own start give the starts of lanes; nearby starts are merged. Each
    keypoint joins the lane whose start is closest to the point that it refers to.

    Args:
        keypoints (np.ndarray): (K, 2) x and y in cells.
        rows (np.ndarray): (K,) rows of their cells.
        offsets (np.ndarray): (K, 2) from the keypoints to the starts of their lanes, in cells.
        start_height (float): A keypoint with a smaller height above its start is a start.
        max_distance (float): Maximum distance in cells between merged starts, and between a start
            and the point that a keypoint refers to.

    Returns:
        list[np.ndarray]: (M, 2) points in cells, bottom to top, one per row: the mean of the
        keypoints in the row.
    """
    pointed = keypoints + offsets
    starts = pointed[offsets[:, 1] < start_height]
    if not len(starts):
        return []
    number, group = connected_components(cdist(starts, starts) <= max_distance)
    centres = np.stack([starts[group == index].mean(axis=0) for index in range(number)])
    distances = cdist(pointed, centres)
    nearest = np.where(distances.min(axis=1) <= max_distance, distances.argmin(axis=1), -1)
    return [
        _mean_per_row(keypoints[nearest == index], rows[nearest == index])
        for index in range(number)
    ]


def draw_gaussians(cells: np.ndarray, shape: tuple[int, int], radius: int) -> np.ndarray:
    """Heatmap with the maximum of the Gaussians around cells.

    Args:
        cells (np.ndarray): (K, 2) int64, x and y.
        shape (tuple[int, int]): H and W in cells.
        radius (int): In cells; the standard deviation is (2 radius + 1) / 6.

    Returns:
        np.ndarray: (H, W) float32, 1 at each of the cells.
    """
    padded = np.zeros((shape[0] + 2 * radius, shape[1] + 2 * radius), dtype=np.float32)
    sigma = (2 * radius + 1) / 6
    steps = np.arange(-radius, radius + 1)
    dy, dx = np.meshgrid(steps, steps, indexing='ij')
    heat = np.exp(-(dx**2 + dy**2) / (2 * sigma**2)).astype(np.float32)
    ys, xs = (cells[:, axis, None, None] + radius for axis in (1, 0))
    np.maximum.at(padded, (ys + dy, xs + dx), np.broadcast_to(heat, (len(cells), *heat.shape)))
    return padded[radius : radius + shape[0], radius : radius + shape[1]]


def _mean_per_row(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of the points in each row, from the lowest row up."""
    used, place = np.unique(rows, return_inverse=True)
    sums = np.stack([np.bincount(place, part, len(used)) for part in points.T], axis=1)
    return (sums / np.bincount(place, minlength=len(used))[:, None])[::-1]


def _resample(lane: np.ndarray, number: int) -> np.ndarray:
    """(number, 2) points of a lane, evenly spaced in y, from its lowest point up."""
    ys, first = np.unique(lane[:, 1], return_index=True)
    even = np.linspace(ys[-1], ys[0], number)
    return np.stack([np.interp(even, ys, lane[first, 0]), even], axis=1)


def _to_cells(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cells of points."""
    return np.floor(points).astype(np.int64).clip(0, [shape[1] - 1, shape[0] - 1])
