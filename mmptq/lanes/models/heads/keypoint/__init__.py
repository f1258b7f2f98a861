"""Keypoint-based lane heads."""

from .ganet_head import GANetHead

__all__ = [
    'GANetHead',
]
