"""What can be wrong with a LiDAR scan file."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Sensors that mark missing returns by NaN have fewer than that in what remains of a scan.
NAN_SHARE = 0.01


@dataclass(frozen=True)
class ScanFormat:
    """What a pipeline expects of scan files of float32 points.

    Attributes:
        num_columns (int): Numbers per point.
        point_range (Sequence[float], optional): x, y, z minimum, then maximum, outside of which
            points are dropped; None where they are not.
        num_sweeps (int): Earlier scans that are added to one, at most.
    """

    num_columns: int
    point_range: Sequence[float] | None = None
    num_sweeps: int = 0

    @classmethod
    def of(cls, pipeline: Any) -> 'ScanFormat | None':
        """The format that a pipeline (built or as configs) reads; None where it reads no scans."""
        columns = next(_values(pipeline, 'LoadPointsFromFile', 'load_dim'), None)
        ranges = _values(pipeline, 'PointsRangeFilter', 'point_cloud_range', 'pcd_range')
        sweeps = next(_values(pipeline, 'LoadPointsFromMultiSweeps', 'sweeps_num'), 0)
        return None if columns is None else cls(columns, next(ranges, None), sweeps)

    def problem(self, path: str, nan_points: str | None = None) -> str | None:
        """What is wrong with a file, as the rest of a sentence; None if it can be used."""
        return self.check(path, nan_points)[0]

    def check(
        self, path: str, nan_points: str | None = None, sweeps: Sequence[str] = ()
    ) -> tuple[str | None, int, int]:
        """What is wrong with a file, and how many points of it and its sweeps are not finite.

        mmdet3d's range filter silently drops points that are not finite, so that a broken
        recording would pass for a sparse one.

        Args:
            path (str): The file; one that is not on this machine's disk is not looked at.
            nan_points (str, optional): See ``bad_points_problem``.
            sweeps (Sequence[str]): Files of earlier scans that are added to it. Defaults to ().

        Returns:
            tuple: The problem as the rest of a sentence, or None; number of points that are not
            finite; number of points.
        """
        if not os.path.isfile(path):
            return None, 0, 0
        size = os.path.getsize(path)
        if size == 0:
            return 'is an empty file', 0, 0
        if size % (4 * self.num_columns):
            problem = (
                f'has {size} bytes, which are no whole points of {self.num_columns} float32 '
                'numbers: it is cut off or has another number of columns'
            )
            return problem, 0, 0
        try:
            points = np.fromfile(path, dtype=np.float32).reshape(-1, self.num_columns)
        except OSError as error:
            return f'cannot be read ({error.strerror})', 0, 0
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        problem = bad_points_problem(bad, len(points), nan_points)
        if problem is None and self.point_range is not None:
            low, high = np.asarray(self.point_range).reshape(2, 3)
            if not ((points[:, :3] >= low) & (points[:, :3] <= high)).all(axis=1).any():
                problem = f'has no point inside {list(map(float, self.point_range))}'
        total = len(points)
        if problem is None and sweeps:
            counts = [self._count_bad(sweep) for sweep in sweeps]
            bad, total = bad + sum(x for x, _ in counts), total + sum(x for _, x in counts)
            problem = bad_points_problem(bad, total, nan_points)
            problem = problem and f'{problem}, those of its sweeps included'
        return problem, bad, total

    def _count_bad(self, path: str) -> tuple[int, int]:
        """Points that are not finite, and all points; none of a file that cannot be read."""
        try:
            values = np.fromfile(path, dtype=np.float32)
        except OSError:  # is said when the sample is loaded
            return 0, 0
        points = values[: len(values) // self.num_columns * self.num_columns]
        points = points.reshape(-1, self.num_columns)
        return int((~np.isfinite(points)).any(axis=1).sum()), len(points)


def bad_points_problem(bad: int, total: int, nan_points: str | None) -> str | None:
    """Why points with NaN or Inf cannot be dropped, as the rest of a sentence; None if they can.

    Args:
        bad (int): Number of points that are not finite.
        total (int): Number of points.
        nan_points (str, optional): 'drop' drops any number of them, 'error' none, and None less
            than ``NAN_SHARE``.
    """
    if bad and bad == total:
        return f'holds NaN or Inf in all of its {total} points'
    if not bad or nan_points == 'drop' or (nan_points is None and bad < NAN_SHARE * total):
        return None
    return f'holds NaN or Inf in {bad} of {total} points'


def _values(pipeline: Any, name: str, *keys: str) -> Iterable[Any]:
    """Values of the first known key of all transforms of a class, also of nested ones."""
    steps = getattr(pipeline, 'transforms', pipeline) or ()
    for step in steps if isinstance(steps, (list, tuple)) else ():
        settings = step if isinstance(step, dict) else vars(step)
        kind = step.get('type') if isinstance(step, dict) else type(step).__name__
        if str(kind).split('.')[-1] == name:
            yield from [settings[key] for key in keys if settings.get(key) is not None][:1]
        yield from _values(settings.get('transforms'), name, *keys)
