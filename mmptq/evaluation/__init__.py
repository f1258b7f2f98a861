"""Metrics that the stock packages lack; ordinary mmengine metrics."""

from importlib.util import find_spec

from .average_precision import average_precision, match_detections
from .culane_metric import CULaneMetric
from .lane_distortion import lane_distortion
from .tusimple_accuracy import tusimple_image_scores
from .tusimple_metric import TuSimpleMetric

__all__ = [
    'CULaneMetric',
    'TuSimpleMetric',
    'average_precision',
    'lane_distortion',
    'match_detections',
    'tusimple_image_scores',
]

if find_spec('mmdet3d') is not None:
    from .box_overlaps_3d import rotated_iou_3d
    from .rotated_iou_3d_metric import RotatedIoU3DMetric

    __all__ += ['RotatedIoU3DMetric', 'rotated_iou_3d']
