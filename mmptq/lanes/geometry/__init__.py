"""Lanes as points: geometry, drawing, distances."""

from .lane_distortion import LaneDistortion, lane_distortion
from .lane_geometry import lanes_to_original

__all__ = [
    'LaneDistortion',
    'lane_distortion',
    'lanes_to_original',
]
