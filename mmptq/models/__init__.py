"""Lane detectors, which mmdet lacks; ordinary mmdet components."""

from .lane_detector import LaneDetector
from .lane_head import LaneHead

__all__ = ['LaneDetector', 'LaneHead']
