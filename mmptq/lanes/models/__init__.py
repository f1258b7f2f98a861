"""Lane detectors for mmdet."""

from .backbones import ENet, ReducedResNet
from .decoders import BUSDDecoder, ENetDecoder, LinearDecoder
from .heads import (
    BezierHead,
    CLRHead,
    CondLaneHead,
    GANetHead,
    LaneAnchorGenerator,
    LaneATTHead,
    LaneExistence,
    LaneHead,
    LaneSegHead,
    LSTRHead,
)
from .lane_detector import LaneDetector
from .losses import LineIoULoss, SADLoss, SoftmaxFocalLoss
from .necks import RESA, SCNN, DeformFPN, FeatureFlipNeck, LaneTransformer, TransConvFPN

__all__ = [
    'BUSDDecoder',
    'BezierHead',
    'CLRHead',
    'CondLaneHead',
    'DeformFPN',
    'ENet',
    'ENetDecoder',
    'FeatureFlipNeck',
    'GANetHead',
    'LSTRHead',
    'LaneATTHead',
    'LaneAnchorGenerator',
    'LaneDetector',
    'LaneExistence',
    'LaneHead',
    'LaneSegHead',
    'LaneTransformer',
    'LineIoULoss',
    'LinearDecoder',
    'RESA',
    'ReducedResNet',
    'SADLoss',
    'SCNN',
    'SoftmaxFocalLoss',
    'TransConvFPN',
]
