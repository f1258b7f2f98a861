"""Which table of resampled values fits a metric."""

from typing import Any

from .coco_table import coco_table
from .lane_tables import culane_table, tusimple_table
from .nuscenes_table import nuscenes_table
from .paired_bootstrap import ResampledMetric
from .recomputed import Recomputed
from .rotated_iou_table import rotated_iou_table

# By name of the class: their modules may not be installed.
TABLES = dict(
    CocoMetric=coco_table,
    CULaneMetric=culane_table,
    NuScenesMetric=nuscenes_table,
    RotatedIoU3DMetric=rotated_iou_table,
    TuSimpleMetric=tusimple_table,
)
METHODS = dict(
    CocoMetric="COCO's average precision, computed again from the matches of COCOeval",
    CULaneMetric='F1 from the counts of each image',
    NuScenesMetric="nuScenes' average precision, computed again from its boxes",
    RotatedIoU3DMetric='average precision, computed again from the overlaps of each sample',
    TuSimpleMetric='means of the scores of each image',
)
BY_ITSELF = 'the metric itself, computed again for each resample'


def resampled_metric(
    metric: Any, results: list, main: str, context: Any = None
) -> tuple[ResampledMetric, str]:
    """What gives the values of a metric on resampled evaluation sets.

    Args:
        metric (BaseMetric): After it has computed.
        results (list): What it computed from, of all processes.
        main (str): Name of the value of interest, without the prefix of the metric.
        context (Any): What ``nuscenes_table`` needs.

    Returns:
        tuple: The table, and how it comes to its values.

    Raises:
        Exception: Any; a metric may do anything. The message says why there is no table.
    """
    names = [base.__name__ for base in type(metric).__mro__]
    known = next((name for name in names if name in TABLES), None)
    # A subclass that computes in its own way is recomputed in its own way.
    if known is not None and 'compute_metrics' not in _overridden(type(metric), known):
        return TABLES[known](metric, results, main, context), METHODS[known]
    return Recomputed(type(metric).compute_metrics.__get__(metric), results), BY_ITSELF


def _overridden(cls: type, known: str) -> set[str]:
    """Attributes that subclasses of a known class define themselves."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base.__name__ == known:
            break
        found |= set(vars(base))
    return found
