"""Decoders of segmentation heads."""

from .busd_decoder import BUSDDecoder
from .enet_decoder import ENetDecoder
from .linear_decoder import LinearDecoder

__all__ = [
    'BUSDDecoder',
    'ENetDecoder',
    'LinearDecoder',
]
