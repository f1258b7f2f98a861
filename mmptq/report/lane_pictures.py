"""Pictures of predicted lanes."""

from collections.abc import Sequence

import cv2
import numpy as np

# BGR, one per lane from left to right.
COLOURS = ((255, 120, 40), (60, 220, 60), (50, 60, 255), (240, 220, 40), (230, 60, 230))
_SHIFT = 4  # fractional bits of cv2's coordinates
_FARTHEST = 10**5  # pixels; farther points would not fit cv2's integers


def draw_lanes(image: np.ndarray, lanes: Sequence[np.ndarray]) -> np.ndarray:
    """Lanes drawn over an image, coloured by their order from left to right.

    Args:
        image (np.ndarray): (H, W, 3) uint8, BGR.
        lanes (Sequence[np.ndarray]): (N, 2) x and y each, pixels of the image; points that are not
            finite are left out.

    Returns:
        np.ndarray: (H, W, 3) uint8, a copy.
    """
    picture = image.copy()
    thickness = max(round(image.shape[1] / 300), 1)
    finite = [np.asarray(lane, dtype=np.float64).reshape(-1, 2) for lane in lanes]
    finite = [lane[np.isfinite(lane).all(axis=1)] for lane in finite]
    ordered = sorted((lane for lane in finite if len(lane)), key=_place)
    for index, lane in enumerate(ordered):
        points = np.rint(lane.clip(-_FARTHEST, _FARTHEST) * 2**_SHIFT).astype(np.int32)
        colour = COLOURS[index % len(COLOURS)]
        cv2.polylines(picture, [points], False, colour, thickness, cv2.LINE_AA, _SHIFT)
    return picture


def compare_lanes(image: np.ndarray, lanes: dict[str, Sequence[np.ndarray]]) -> np.ndarray:
    """One panel for each set of lanes, side by side, with a caption above each.

    Args:
        image (np.ndarray): (H, W, 3) uint8, BGR.
        lanes (dict): Caption -> lanes as for :func:`draw_lanes`.

    Returns:
        np.ndarray: (H + caption, panels * W + gaps, 3) uint8.
    """
    height, width = image.shape[:2]
    gap, band = max(width // 100, 2), max(height // 10, 16)
    panels = []
    for caption, of_panel in lanes.items():
        panel = np.full((height + band, width + gap, 3), 255, np.uint8)
        panel[band:, :width] = draw_lanes(image, of_panel)
        text = f'{caption}: {len(of_panel)} {"lane" if len(of_panel) == 1 else "lanes"}'
        place, size = (gap, round(0.75 * band)), band / 42
        thickness = max(round(band / 24), 1)
        cv2.putText(
            panel, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thickness, cv2.LINE_AA
        )
        panels.append(panel)
    return np.concatenate(panels, axis=1)[:, :-gap]


def _place(lane: np.ndarray) -> float:
    """x of the lane's lower end."""
    return lane[lane[:, 1].argmax(), 0]
