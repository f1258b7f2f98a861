"""Anchor-based lane heads."""

from .lane_anchor_generator import LaneAnchorGenerator
from .laneatt_head import LaneATTHead

__all__ = [
    'LaneATTHead',
    'LaneAnchorGenerator',
]
