"""Segmentation-based lane heads."""

from .lane_existence import LaneExistence
from .lane_seg_head import LaneSegHead

__all__ = [
    'LaneExistence',
    'LaneSegHead',
]
