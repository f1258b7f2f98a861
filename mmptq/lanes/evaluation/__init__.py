"""Metrics of lane benchmarks, as mmengine metrics."""

from .culane_metric import CULaneMetric
from .tusimple_accuracy import tusimple_image_scores
from .tusimple_metric import TuSimpleMetric

__all__ = [
    'CULaneMetric',
    'TuSimpleMetric',
    'tusimple_image_scores',
]
