"""Lanes as start cells and one column per row, for a head with conditional maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from mmptq.lanes.geometry.lane_geometry import clip_lane

from .lane_keypoints import draw_gaussians


@dataclass(frozen=True)
class ConditionalTargets:
    """Training targets of L lanes of one image.

    Attributes:
        heatmap (np.ndarray): (h, w) float32, a Gaussian with maximum 1 at each start.
        starts (np.ndarray): (L, 2) int64, x and y of the start cells in the heatmap.
        radii (np.ndarray): (L,) int64, radii of the Gaussians in cells of the heatmap.
        columns (np.ndarray): (L, H) float32, x of the lanes at each row, in cells of the maps.
        rows (np.ndarray): (L, H) bool, rows that the lanes reach.
    """

    heatmap: np.ndarray
    starts: np.ndarray
    radii: np.ndarray
    columns: np.ndarray
    rows: np.ndarray

    def seeds(self, lane: int) -> np.ndarray:
        """Cells that have to give a lane: (M, 2) x and y, its start first, then others around."""
        height, width = self.heatmap.shape
        reach = max(self.radii[lane] // 2, 1)
        steps = np.arange(-reach, reach + 1)
        around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        distances = np.linalg.norm(around, axis=1)
        order = np.argsort(distances, kind='stable')[: np.count_nonzero(distances <= reach)]
        cells = self.starts[lane] + around[order]
        return cells[((cells >= 0) & (cells < (width, height))).all(axis=1)]


def encode_conditional(
    lanes: Sequence[np.ndarray],
    map_shape: tuple[int, int],
    heat_shape: tuple[int, int],
    radius: int,
) -> ConditionalTargets:
    """Targets of one image.

    A lane starts at its lowest point inside the image. Where starts are closer than 1.5 radii,
    their radius is smaller.

    Args:
        lanes (Sequence[np.ndarray]): (P, 2) points each, x and y in cells of the maps.
        map_shape (tuple[int, int]): H and W of the maps.
        heat_shape (tuple[int, int]): h and w of the heatmap of the same image.
        radius (int): Radius of a start in the heatmap, in its cells.

    Returns:
        ConditionalTargets: Targets of the lanes that reach a row.
    """
    height, width = map_shape
    clipped = [clip_lane(lane, width, height) for lane in lanes]
    encoded = [(lane, *_at_rows(lane, height)) for lane in clipped if len(lane)]
    encoded = [item for item in encoded if item[2].any()]
    starts = [lane[lane[:, 1].argmax()] for lane, _, _ in encoded]
    points = np.array(starts).reshape(-1, 2) * [heat_shape[1] / width, heat_shape[0] / height]
    cells = np.floor(points).astype(np.int64).clip(0, [heat_shape[1] - 1, heat_shape[0] - 1])
    radii = _radii(points, radius)
    heatmap = np.zeros(heat_shape, dtype=np.float32)
    for cell, own in zip(cells, radii, strict=True):
        np.maximum(heatmap, draw_gaussians(cell[None], heat_shape, own), out=heatmap)
    return ConditionalTargets(
        heatmap=heatmap,
        starts=cells,
        radii=radii,
        columns=np.array([item[1] for item in encoded], dtype=np.float32).reshape(-1, height),
        rows=np.array([item[2] for item in encoded], dtype=bool).reshape(-1, height),
    )


def _at_rows(lane: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """x of a lane at the rows 0 to ``height`` - 1, and which of them it reaches."""
    rows = np.arange(height)
    ys, first = np.unique(lane[:, 1], return_index=True)
    return np.interp(rows, ys, lane[first, 0]), (rows >= ys[0]) & (rows <= ys[-1])


def _radii(points: np.ndarray, radius: int) -> np.ndarray:
    """Radius of each start: at most its distance from the next one divided by 1.5, at least 1."""
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1, initial=np.inf)
    closer = np.floor(np.clip(nearest / 1.5, 1, radius) + 0.5)
    return np.where(nearest < 1.5 * radius, closer, radius).astype(np.int64)
