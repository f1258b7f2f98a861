"""Keypoint-based lane heads."""

from .condlane_head import CondLaneHead
from .ganet_head import GANetHead

__all__ = [
    'CondLaneHead',
    'GANetHead',
]
