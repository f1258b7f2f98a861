"""Lane detectors, which mmdet lacks; ordinary mmdet components."""

from .deform_fpn import DeformFPN
from .ganet_head import GANetHead
from .lane_anchor_generator import LaneAnchorGenerator
from .lane_anchor_hook import LaneAnchorHook
from .lane_detector import LaneDetector
from .lane_head import LaneHead
from .lane_transformer import LaneTransformer
from .laneatt_head import LaneATTHead
from .lstr_head import LSTRHead
from .reduced_resnet import ReducedResNet
from .softmax_focal_loss import SoftmaxFocalLoss

__all__ = [
    'DeformFPN',
    'GANetHead',
    'LSTRHead',
    'LaneATTHead',
    'LaneAnchorGenerator',
    'LaneAnchorHook',
    'LaneDetector',
    'LaneHead',
    'LaneTransformer',
    'ReducedResNet',
    'SoftmaxFocalLoss',
]
