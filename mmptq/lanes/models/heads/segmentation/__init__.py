"""Heads that give a mask per lane."""

from .lane_existence import LaneExistence
from .lane_seg_head import LaneSegHead

__all__ = [
    'LaneExistence',
    'LaneSegHead',
]
