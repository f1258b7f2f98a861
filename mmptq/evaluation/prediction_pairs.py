"""Which predictions of two models on one sample are the same object."""

from dataclasses import dataclass

import numpy as np

from .predictions import BOXES, BOXES_3D, LANES, Predictions

# Smallest overlap of boxes, largest distance of 3D boxes seen from above, and of lanes.
MIN_IOU = 0.5
MAX_METERS = 1.0
MAX_PIXELS = 30.0
# Points at which lanes are compared.
_LANE_POINTS = 24


@dataclass
class Pairs:
    """Predictions of two models that belong together.

    Attributes:
        first (np.ndarray): (K,) indices of the first model's predictions.
        second (np.ndarray): (K,) indices of the second model's.
        closeness (np.ndarray): (K,) from 0 (barely the same) to 1 (at the same place).
    """

    first: np.ndarray
    second: np.ndarray
    closeness: np.ndarray


def match_predictions(first: Predictions, second: Predictions) -> Pairs:
    """Pairs of one class, the closest first, each prediction in one pair at most.

    Boxes have an IoU of at least 0.5, 3D boxes centres at most a metre apart as seen from above,
    lanes a mean distance of at most 30 pixels.
    """
    limit, close = 0.0, np.zeros((len(first), len(second)))
    if len(first) and len(second) and first.kind == second.kind:
        if first.kind == BOXES:
            limit, close = MIN_IOU, box_ious(first.shapes, second.shapes)
        elif first.kind == BOXES_3D:
            places = first.shapes[:, None, :2] - second.shapes[None, :, :2]
            close = 1 - np.linalg.norm(places, axis=-1) / MAX_METERS
        elif first.kind == LANES:
            close = 1 - _lane_distances(first.shapes, second.shapes) / MAX_PIXELS
        close = np.where(first.labels[:, None] == second.labels[None], close, -np.inf)
    rows, columns = np.nonzero(close >= limit) if close.size else (np.zeros(0, int),) * 2
    order = np.argsort(-close[rows, columns], kind='stable')
    taken, free, kept = np.zeros(len(first), bool), np.ones(len(second), bool), []
    for index in order:
        row, column = rows[index], columns[index]
        if not taken[row] and free[column]:
            taken[row], free[column] = True, False
            kept.append(index)
    kept = np.array(kept, dtype=int)
    return Pairs(rows[kept], columns[kept], close[rows[kept], columns[kept]])


def box_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) IoU of (N, 4) and (M, 4) boxes x1, y1, x2, y2."""
    first, second = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    low, high = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., 2:], second[..., 2:]),
    )
    inner = (high - low).clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    return inner / np.maximum(areas[0] + areas[1] - inner, 1e-12)


def _lane_distances(first: list, second: list) -> np.ndarray:
    """(N, M) mean distance of the points of one lane to the other, both ways."""
    lanes = [[_even_points(lane) for lane in group] for group in (first, second)]
    found = np.full((len(first), len(second)), np.inf)
    for row, one in enumerate(lanes[0]):
        for column, other in enumerate(lanes[1]):
            if len(one) and len(other):
                between = np.linalg.norm(one[:, None] - other[None], axis=-1)
                found[row, column] = (between.min(0).mean() + between.min(1).mean()) / 2
    return found


def _even_points(lane: np.ndarray) -> np.ndarray:
    """Points of a lane at even distances along it."""
    lane = np.asarray(lane, dtype=np.float64)
    lane = lane[np.isfinite(lane).all(axis=1)]
    if len(lane) < 2:
        return lane
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(lane, axis=0), axis=1).cumsum()])
    places = np.linspace(0, along[-1], _LANE_POINTS)
    return np.stack([np.interp(places, along, lane[:, axis]) for axis in (0, 1)], 1)
