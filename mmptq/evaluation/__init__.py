"""Metrics that the stock packages lack; ordinary mmengine metrics."""

from importlib.util import find_spec

from .average_precision import average_precision, match_detections

__all__ = ['average_precision', 'match_detections']

if find_spec('mmdet3d') is not None:
    from .box_overlaps_3d import rotated_iou_3d
    from .rotated_iou_3d_metric import RotatedIoU3DMetric

    __all__ += ['RotatedIoU3DMetric', 'rotated_iou_3d']
