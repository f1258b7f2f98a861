"""Points with NaN or Inf in LiDAR scans: a few are dropped, more are refused."""

from typing import Any

from mmcv.transforms import BaseTransform

from mmptq.quantization import QuantizationError
from mmptq.utils.scan_file import bad_points_problem

from .pipelines import type_names

# Goes behind 'repair or remove it'.
NAN_HINT = ', or drop these points with --cfg-options calibration.nan_points=drop'
LOADERS = {'LoadPointsFromFile', 'LoadPointsFromMultiSweeps'}


class FinitePoints(BaseTransform):
    """Drops points that are not finite; all other points stay as they are, in their order.

    Drivers of some sensors mark missing returns by NaN.

    Args:
        nan_points (str, optional): See ``CalibrationSettings``.
    """

    def __init__(self, nan_points: str | None = None):
        self.nan_points = nan_points

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Drop points from ``results['points']``.

        Raises:
            QuantizationError: If too many are not finite.
        """
        points = results['points']
        finite = points.tensor.isfinite().all(dim=1)
        bad = len(finite) - int(finite.sum())
        if bad:
            problem = bad_points_problem(bad, len(finite), self.nan_points)
            if problem:
                raise QuantizationError(f'with its sweeps, it {problem}{NAN_HINT}')
            results['points'] = points[finite]
        return results


def with_finite_points(pipeline: list[dict], nan_points: str | None) -> list[dict]:
    """A pipeline config in which points with NaN or Inf are dropped as soon as all are loaded."""
    last = None
    for index, step in enumerate(pipeline):
        if isinstance(step, dict) and LOADERS & set(type_names(step.get('type'))):
            last = index
    if last is None:
        return list(pipeline)
    step = dict(type=FinitePoints, nan_points=nan_points)
    return [*pipeline[: last + 1], step, *pipeline[last + 1 :]]
