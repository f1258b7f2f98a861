"""Bird's-eye views: points and boxes of a LiDAR scan."""

from dataclasses import dataclass

import cv2
import numpy as np

BACKGROUND, POINT, RING, TEXT = (18, 18, 18), (150, 150, 150), (60, 60, 60), (230, 230, 230)
RING_DISTANCES = (30, 50, 70, 90)
_SHIFT = 4  # fractional bits of cv2's coordinates
_FARTHEST = 10**5  # pixels; farther corners would not fit cv2's integers


@dataclass
class BoxGroup:
    """Boxes that are drawn alike.

    Attributes:
        name (str): For the legend.
        boxes (np.ndarray): (N, 7 or more) x, y, z, sizes along heading, across and up, heading.
        colour (tuple[int, int, int]): BGR.
        thickness (int): Of the lines, in pixels.
    """

    name: str
    boxes: np.ndarray
    colour: tuple[int, int, int]
    thickness: int = 1


def draw_bev(
    points: np.ndarray,
    groups: list[BoxGroup],
    area: tuple[float, float, float, float],
    pixels_per_meter: float = 10.0,
) -> np.ndarray:
    """A picture of a scan from above; x (forward) points up and y (left) points left.

    Args:
        points (np.ndarray): (N, 2 or more) x, y in metres.
        groups (list[BoxGroup]): Drawn in this order; a line from the centre shows the heading.
        area (tuple): x minimum, y minimum, x maximum, y maximum in metres.
        pixels_per_meter (float): Scale of the picture.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR.
    """
    view = _View(area, pixels_per_meter)
    image = np.full((*view.shape, 3), BACKGROUND, np.uint8)
    for distance in RING_DISTANCES:
        center = tuple(int(c) for c in view.pixels(np.zeros((1, 2)))[0] * 2**_SHIFT)
        radius = int(distance * pixels_per_meter * 2**_SHIFT)
        cv2.circle(image, center, radius, RING, 1, cv2.LINE_AA, _SHIFT)
    column, row = np.rint(view.pixels(points[:, :2])).astype(np.int64).T
    inside = (row >= 0) & (row < view.shape[0]) & (column >= 0) & (column < view.shape[1])
    image[row[inside], column[inside]] = POINT
    for group in groups:
        finite = np.isfinite(group.boxes[:, :7]).all(axis=1)
        for corners, front in zip(*box_outlines(group.boxes[finite]), strict=True):
            for line, closed in ((corners, True), (front, False)):
                place = view.pixels(line).clip(-_FARTHEST, _FARTHEST) * 2**_SHIFT
                place = np.rint(place).astype(np.int32)
                cv2.polylines(
                    image, [place], closed, group.colour, group.thickness, cv2.LINE_AA, _SHIFT
                )
    return _with_legend(image, groups, len(points))


def box_outlines(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of boxes seen from above, and the line from centre to front of each.

    Args:
        boxes (np.ndarray): (N, 7 or more), see :class:`BoxGroup`.

    Returns:
        tuple: (N, 4, 2) corners and (N, 2, 2) lines, in metres.
    """
    center, (length, width) = boxes[:, None, :2], (boxes[:, 3:4], boxes[:, 4:5])
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    forward = np.stack([cos * length, sin * length], -1) / 2
    left = np.stack([-sin * width, cos * width], -1) / 2
    corners = [forward + left, forward - left, -forward - left, -forward + left]
    front = np.concatenate([center, center + forward], 1)
    return center + np.concatenate(corners, 1), front


class _View:
    """From metres to pixels."""

    def __init__(self, area: tuple[float, float, float, float], scale: float):
        self.far, self.left = area[2], area[3]
        self.scale = scale
        self.shape = tuple(round((area[2 + i] - area[i]) * scale) for i in (0, 1))

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """(N, 2) column and row of (N, 2) x and y."""
        return np.stack([self.left - places[:, 1], self.far - places[:, 0]], 1) * self.scale - 0.5


def _with_legend(image: np.ndarray, groups: list[BoxGroup], num_points: int) -> np.ndarray:
    entries = [(f'{num_points} points', TEXT)]
    entries += [(f'{group.name}: {len(group.boxes)} boxes', group.colour) for group in groups]
    for line, (text, colour) in enumerate(entries):
        place = (8, 20 + 20 * line)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return image
