"""What can be wrong with a LiDAR scan file."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ScanFormat:
    """What a pipeline expects of scan files of float32 points.

    Attributes:
        num_columns (int): Numbers per point.
        point_range (Sequence[float], optional): x, y, z minimum, then maximum, outside of which
            points are dropped; None where they are not.
    """

    num_columns: int
    point_range: Sequence[float] | None = None

    @classmethod
    def of(cls, pipeline: Any) -> 'ScanFormat | None':
        """The format that a pipeline (built or as configs) reads; None where it reads no scans."""
        columns = next(_values(pipeline, 'LoadPointsFromFile', 'load_dim'), None)
        ranges = _values(pipeline, 'PointsRangeFilter', 'point_cloud_range', 'pcd_range')
        return None if columns is None else cls(columns, next(ranges, None))

    def problem(self, path: str) -> str | None:
        """What is wrong with a file, as the rest of a sentence; None if it is sound.

        mmdet3d's range filter silently drops points that are not finite, so that a broken
        recording would pass for a sparse one.

        Args:
            path (str): The file; one that is not on this machine's disk is not looked at.
        """
        if not os.path.isfile(path):
            return None
        size = os.path.getsize(path)
        if size == 0:
            return 'is an empty file'
        if size % (4 * self.num_columns):
            return (
                f'has {size} bytes, which are no whole points of {self.num_columns} float32 '
                'numbers: it is cut off or has another number of columns'
            )
        points = np.fromfile(path, dtype=np.float32).reshape(-1, self.num_columns)
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        if bad:
            return f'holds NaN or Inf in {bad} of {len(points)} points'
        if self.point_range is not None:
            low, high = np.asarray(self.point_range).reshape(2, 3)
            if not ((points[:, :3] >= low) & (points[:, :3] <= high)).all(axis=1).any():
                return f'has no point inside {list(map(float, self.point_range))}'
        return None


def _values(pipeline: Any, name: str, *keys: str) -> Iterable[Any]:
    """Values of the first known key of all transforms of a class, also of nested ones."""
    steps = getattr(pipeline, 'transforms', pipeline) or ()
    for step in steps if isinstance(steps, (list, tuple)) else ():
        settings = step if isinstance(step, dict) else vars(step)
        kind = step.get('type') if isinstance(step, dict) else type(step).__name__
        if str(kind).split('.')[-1] == name:
            yield from [settings[key] for key in keys if settings.get(key) is not None][:1]
        yield from _values(settings.get('transforms'), name, *keys)
