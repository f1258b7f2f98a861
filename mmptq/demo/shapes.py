"""Silhouettes of the demo objects, as polygons in the square [-1, 1] x [-1, 1]."""

import numpy as np


def _arc(
    radius: float, start: float = 0.0, stop: float = 2 * np.pi, points: int = 40
) -> np.ndarray:
    angle = np.linspace(start, stop, points)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _polygon(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64)


def _star() -> np.ndarray:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _cross(arm: float = 0.36) -> np.ndarray:
    corner = _polygon((arm, -1), (arm, -arm), (1, -arm), (1, arm))
    turns = [np.array([[0, 1], [-1, 0]]), -np.eye(2), np.array([[0, -1], [1, 0]])]
    return np.concatenate([corner, *[corner @ turn for turn in turns]])


def _crescent() -> np.ndarray:
    return np.concatenate([_arc(1.0, 0.4, 5.9), (_arc(0.75, 5.7, 0.6) + [0.3, 0])])


# Class name -> (contours, texture). A contour inside another one is a hole (even-odd rule).
OBJECTS = {
    'button': ([_arc(1.0)], 'dots'),
    'crate': ([_polygon((-1, -1), (1, -1), (1, 1), (-1, 1))], 'checker'),
    'cone': ([_polygon((0, -1), (1, 0.9), (-1, 0.9))], 'stripes'),
    'ring': ([_arc(1.0), _arc(0.5)], 'marble'),
    'star': ([_star()], 'circles'),
    'cross': ([_cross()], 'gradient'),
}

# Unlabelled objects with other silhouettes and any texture.
DISTRACTORS = {
    'crescent': [_crescent()],
    'bar': [_polygon((-1, -0.22), (1, -0.22), (1, 0.22), (-1, 0.22))],
    'corner': [_polygon((-1, -1), (-0.5, -1), (-0.5, 0.5), (1, 0.5), (1, 1), (-1, 1))],
    'half': [_arc(1.0, 0, np.pi)],
    'arrow': [_polygon((-1, -0.25), (0, -0.25), (0, -1), (1, 0), (0, 1), (0, 0.25), (-1, 0.25))],
}
