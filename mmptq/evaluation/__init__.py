"""Metrics that mmdet and mmdet3d do not have, as mmengine metrics."""

from importlib.util import find_spec

from .average_precision import average_precision, match_detections
from .center_matching import match_centers
from .detection_agreement import detection_agreement, summarize_agreement

__all__ = [
    'average_precision',
    'detection_agreement',
    'match_centers',
    'match_detections',
    'summarize_agreement',
]

if find_spec('mmdet3d') is not None:
    from .box_overlaps_3d import rotated_iou_3d
    from .recall_by_distance_metric import RecallByDistanceMetric
    from .rotated_iou_3d_metric import RotatedIoU3DMetric

    __all__ += ['RecallByDistanceMetric', 'RotatedIoU3DMetric', 'rotated_iou_3d']
