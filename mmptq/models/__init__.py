"""Lane detectors, which mmdet lacks; ordinary mmdet components."""

from .bezier_head import BezierHead
from .busd_decoder import BUSDDecoder
from .deform_fpn import DeformFPN
from .enet import ENet
from .enet_decoder import ENetDecoder
from .feature_flip_neck import FeatureFlipNeck
from .ganet_head import GANetHead
from .lane_anchor_generator import LaneAnchorGenerator
from .lane_anchor_hook import LaneAnchorHook
from .lane_detector import LaneDetector
from .lane_existence import LaneExistence
from .lane_head import LaneHead
from .lane_seg_head import LaneSegHead
from .lane_transformer import LaneTransformer
from .laneatt_head import LaneATTHead
from .linear_decoder import LinearDecoder
from .lstr_head import LSTRHead
from .reduced_resnet import ReducedResNet
from .resa import RESA
from .sad_loss import SADLoss
from .scnn import SCNN
from .softmax_focal_loss import SoftmaxFocalLoss

__all__ = [
    'BUSDDecoder',
    'BezierHead',
    'DeformFPN',
    'ENet',
    'ENetDecoder',
    'FeatureFlipNeck',
    'GANetHead',
    'LSTRHead',
    'LaneATTHead',
    'LaneAnchorGenerator',
    'LaneAnchorHook',
    'LaneDetector',
    'LaneExistence',
    'LaneHead',
    'LaneSegHead',
    'LaneTransformer',
    'LinearDecoder',
    'RESA',
    'ReducedResNet',
    'SADLoss',
    'SCNN',
    'SoftmaxFocalLoss',
]
