"""What two models found in one sample, side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmptq.evaluation.prediction_pairs import match_predictions
from mmptq.evaluation.predictions import BOXES, BOXES_3D, LANES, Predictions
from mmptq.report.bev import BoxGroup, draw_bev
from mmptq.report.lane_pictures import draw_lanes

# BGR. Found by both models; below the threshold in the other one; found by this one alone.
BOTH, BELOW, ALONE = (120, 190, 90), (40, 185, 245), (40, 60, 230)
COLOURS = (BOTH, BELOW, ALONE)
PANEL, TALLEST, GAP = 520, 420, 8
WHITE = (255, 255, 255)
# Metres around the boxes of a bird's-eye view, and its largest side.
_MARGIN, _AREA = 8.0, 110.0
# Detections that still count as found by the other model: a third of the threshold.
_PART = 3


def sample_picture(
    first: Predictions,
    second: Predictions,
    threshold: float,
    image: np.ndarray | None = None,
    points: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> np.ndarray | None:
    """The detections of two models side by side, those that only one has in other colours.

    Args:
        first (Predictions): Of the model on the left.
        second (Predictions): Of the model on the right.
        threshold (float): Scores from here on are drawn.
        image (np.ndarray, optional): (H, W, 3) BGR; for boxes in pixels and lanes.
        points (np.ndarray, optional): (N, 2 or more) of the scan; for 3D boxes.
        classes (Sequence[str]): Names of classes, for boxes in pixels.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR; None where there is nothing to draw on.
    """
    kind = first.kind if len(first) else second.kind
    if kind == BOXES_3D:
        points = np.zeros((0, 2), np.float32) if points is None else points
        panels = _bev_panels(first, second, threshold, points)
    elif image is None or kind not in (BOXES, LANES):
        return None
    elif kind == LANES:
        panels = [_fit(draw_lanes(image, own.shapes)) for own in (first, second)]
    else:
        panels = [
            _box_panel(image, own, other, threshold, classes)
            for own, other in ((first, second), (second, first))
        ]
    space = np.full((panels[0].shape[0], GAP, 3), WHITE, np.uint8)
    return np.concatenate([panels[0], space, panels[1]], axis=1)


def _states(own: Predictions, other: Predictions, threshold: float) -> np.ndarray:
    """(N,) places in ``COLOURS`` of the detections of one model."""
    other = other.above(threshold / _PART)
    pairs = match_predictions(own, other)
    states = np.full(len(own), 2)
    states[pairs.first] = np.where(other.scores[pairs.second] >= threshold, 0, 1)
    return states


def _box_panel(
    image: np.ndarray, own: Predictions, other: Predictions, threshold: float, classes: Sequence
) -> np.ndarray:
    panel, own = _fit(image), own.above(threshold)
    scale = panel.shape[1] / image.shape[1]
    states = _states(own, other, threshold)
    for index in np.argsort(states, kind='stable'):  # so that what differs stays visible
        box = own.shapes[index] * scale
        if not np.isfinite(box).all():
            continue
        colour = COLOURS[states[index]]
        left, top, right, bottom = (int(c) for c in np.rint(box.clip(-(10**4), 10**4)))
        cv2.rectangle(panel, (left, top), (right, bottom), colour, 2 if states[index] else 1)
        label = own.labels[index]
        name = classes[label] if label < len(classes) else str(label)
        text = f'{name} {own.scores[index]:.2f}'.replace(' 0.', ' .')
        _label(panel, text, (left, top), colour)
    return panel


def _label(panel: np.ndarray, text: str, place: tuple[int, int], colour: tuple) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.36
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    left = min(max(place[0], 0), max(panel.shape[1] - width - 2, 0))
    bottom = max(place[1] - 2, height + 3)
    cv2.rectangle(panel, (left, bottom - height - 2), (left + width + 2, bottom + 2), colour, -1)
    cv2.putText(panel, text, (left + 1, bottom), font, size, WHITE, 1, cv2.LINE_AA)


def _bev_panels(
    first: Predictions, second: Predictions, threshold: float, points: np.ndarray
) -> list[np.ndarray]:
    both = [first.above(threshold), second.above(threshold)]
    area = _area([own.shapes[:, :2] for own in both if len(own)], points)
    scale = min(PANEL / (area[3] - area[1]), TALLEST / (area[2] - area[0]))
    panels = []
    for own, other in ((both[0], second), (both[1], first)):
        states = _states(own, other, threshold)
        groups = [
            BoxGroup(name, own.shapes[states == state], COLOURS[state], 1 + (state > 0))
            for state, name in enumerate(('in both', 'below threshold in the other', 'only here'))
        ]
        panels.append(draw_bev(points, groups, area, scale))
    return panels


def _area(centers: list[np.ndarray], points: np.ndarray) -> tuple[float, float, float, float]:
    """Around the boxes; around the points where there are none."""
    places = np.concatenate(centers) if centers else points[:, :2]
    places = places[np.isfinite(places).all(axis=1)].clip(-_AREA / 2, _AREA / 2)
    if not len(places):
        places = np.zeros((1, 2))
    low, high = places.min(0) - _MARGIN, places.max(0) + _MARGIN
    return tuple(float(value) for value in (*low, *high))


def _fit(image: np.ndarray) -> np.ndarray:
    """A copy that is at most as large as a panel; small images are doubled."""
    scale = min(PANEL / image.shape[1], TALLEST / image.shape[0], 2.0)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
