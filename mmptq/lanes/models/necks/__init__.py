"""Necks."""

from .deform_fpn import DeformFPN
from .feature_flip_neck import FeatureFlipNeck
from .lane_transformer import LaneTransformer
from .resa import RESA
from .scnn import SCNN
from .trans_conv_fpn import TransConvFPN

__all__ = [
    'DeformFPN',
    'FeatureFlipNeck',
    'LaneTransformer',
    'RESA',
    'SCNN',
    'TransConvFPN',
]
