"""Training hooks of lane detectors."""

from .lane_anchor_hook import LaneAnchorHook
from .sad_hook import SADHook

__all__ = [
    'LaneAnchorHook',
    'SADHook',
]
