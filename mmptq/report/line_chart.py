"""Line charts without a plotting package."""

from collections.abc import Sequence

import cv2
import numpy as np

# BGR, one per line.
COLOURS = (
    (180, 90, 20),
    (30, 120, 230),
    (60, 160, 40),
    (60, 50, 200),
    (170, 60, 150),
    (90, 90, 90),
)
WHITE, GREY, BLACK = (255, 255, 255), (215, 215, 215), (30, 30, 30)
SIZE = (720, 400)
LEFT, RIGHT, TOP, BOTTOM = 70, 180, 40, 50
TICKS = 5


def line_chart(
    x: Sequence[float], lines: dict[str, Sequence[float]], title: str, x_label: str
) -> np.ndarray:
    """One line per name over common x, from zero up.

    Args:
        x (Sequence[float]): (N,) places, rising.
        lines (dict[str, Sequence[float]]): N values each, at least 0.
        title (str): Above the chart; says what the values are.
        x_label (str): Below the chart.

    Returns:
        np.ndarray: (400, 720, 3) uint8, BGR.
    """
    width, height = SIZE
    image = np.full((height, width, 3), WHITE, np.uint8)
    values = [value for line in lines.values() for value in line if np.isfinite(value)]
    top = max([*values, 0.0]) or 1.0
    first, last = x[0], x[-1] if x[-1] > x[0] else x[0] + 1

    def place(at: float, value: float) -> tuple[int, int]:
        right = LEFT + (at - first) / (last - first) * (width - LEFT - RIGHT)
        up = height - BOTTOM - value / top * (height - TOP - BOTTOM)
        return round(right), round(up)

    for tick in range(TICKS + 1):
        value, at = top * tick / TICKS, first + (last - first) * tick / TICKS
        cv2.line(image, place(first, value), place(last, value), GREY, 1)
        _text(image, f'{value:.3g}', (8, place(first, value)[1] + 4))
        _text(image, f'{at:.4g}', (place(at, 0)[0] - 10, height - BOTTOM + 18))
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        points = [place(*pair) for pair in zip(x, line, strict=True) if np.isfinite(pair[1])]
        cv2.polylines(image, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
        for point in points if len(points) <= 20 else ():
            cv2.circle(image, point, 3, colour, -1, cv2.LINE_AA)
        row = TOP + 14 + 20 * index
        cv2.line(image, (width - RIGHT + 12, row - 4), (width - RIGHT + 32, row - 4), colour, 2)
        _text(image, name, (width - RIGHT + 38, row))
    _text(image, title, (LEFT, 24))
    _text(image, x_label, (LEFT, height - 12))
    return image


def _text(image: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, BLACK, 1, cv2.LINE_AA)
