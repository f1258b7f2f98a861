"""Heads by the form of their lanes."""

from .anchor import CLRHead, LaneAnchorGenerator, LaneATTHead
from .curve import BezierHead, LSTRHead
from .keypoint import CondLaneHead, GANetHead
from .lane_head import LaneHead
from .segmentation import LaneExistence, LaneSegHead

__all__ = [
    'BezierHead',
    'CLRHead',
    'CondLaneHead',
    'GANetHead',
    'LSTRHead',
    'LaneATTHead',
    'LaneAnchorGenerator',
    'LaneExistence',
    'LaneHead',
    'LaneSegHead',
]
