"""Losses."""

from .sad_loss import SADLoss
from .softmax_focal_loss import SoftmaxFocalLoss

__all__ = [
    'SADLoss',
    'SoftmaxFocalLoss',
]
