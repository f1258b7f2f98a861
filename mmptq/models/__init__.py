"""Lane detectors, which mmdet lacks; ordinary mmdet components."""

from .lane_detector import LaneDetector
from .lane_head import LaneHead
from .lane_transformer import LaneTransformer
from .lstr_head import LSTRHead
from .reduced_resnet import ReducedResNet

__all__ = [
    'LSTRHead',
    'LaneDetector',
    'LaneHead',
    'LaneTransformer',
    'ReducedResNet',
]
