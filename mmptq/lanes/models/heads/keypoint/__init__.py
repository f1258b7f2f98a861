"""Heads that give key points."""

from .ganet_head import GANetHead

__all__ = [
    'GANetHead',
]
