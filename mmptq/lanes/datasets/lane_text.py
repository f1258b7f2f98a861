"""Read lane annotation files; errors name the file and the line."""

import math
from pathlib import Path

import numpy as np

from mmptq.utils.messages import DataError


def read_lines(path: str | Path, what: str) -> list[str]:
    """Lines of a text file, without line ends.

    Args:
        path (str | Path): The file.
        what (str): Kind of file, for error messages.

    Raises:
        DataError: If the file is missing or not a text file.
    """
    try:
        return Path(path).read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise DataError(
            f"{what} '{path}' cannot be read ({error.strerror}): check data_root and the paths "
            'relative to it'
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{what} '{path}' is not a text file") from None


def parse_points(line: str, where: str) -> np.ndarray:
    """Points of one line ``x y x y ...``.

    Args:
        line (str): Numbers separated by white space.
        where (str): File and line, for error messages.

    Returns:
        np.ndarray: (N, 2) float64.

    Raises:
        DataError: If a value is not a finite number, or the number of values is odd.
    """
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise DataError(f'{where}: {wrong!r} is not a number (expected: x y x y ...)') from None
    if not all(map(math.isfinite, values)):
        wrong = words[[math.isfinite(value) for value in values].index(False)]
        raise DataError(f'{where}: {wrong!r} is not a finite coordinate: remove the point')
    if len(values) % 2:
        raise DataError(f'{where}: odd number of values ({len(values)}): each point needs x and y')
    return np.array(values).reshape(-1, 2)


def read_lane_file(path: str | Path) -> list[np.ndarray]:
    """Lanes of a ``.lines.txt`` file, one per line.

    An empty file means an image without lanes. A blank line is a lane without points, as in
    CULane's evaluator.

    Args:
        path (str | Path): The file.

    Returns:
        list[np.ndarray]: (N, 2) float64 each, in file order.

    Raises:
        DataError: If the file is missing or a line is malformed.
    """
    lines = read_lines(path, 'lane file')
    return [
        parse_points(line, f"lane file '{path}', line {number}")
        for number, line in enumerate(lines, start=1)
    ]


def _is_number(word: str) -> bool:
    """Whether Python can parse the word as a float."""
    try:
        float(word)
    except ValueError:
        return False
    return True
