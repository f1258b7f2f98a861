"""Anchor-based lane heads."""

from .clr_head import CLRHead
from .lane_anchor_generator import LaneAnchorGenerator
from .laneatt_head import LaneATTHead

__all__ = [
    'CLRHead',
    'LaneATTHead',
    'LaneAnchorGenerator',
]
