"""Losses."""

from .line_iou_loss import LineIoULoss
from .sad_loss import SADLoss
from .softmax_focal_loss import SoftmaxFocalLoss

__all__ = [
    'LineIoULoss',
    'SADLoss',
    'SoftmaxFocalLoss',
]
