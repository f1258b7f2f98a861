"""Quantized layers: torch's own, and those of mmcv and spconv where these are installed."""

from . import deform, dense, sparse  # noqa: F401  (they enter their layers into QUANT_LAYERS)
from .registry import (
    QUANT_LAYERS,
    QuantMixin,
    channel_rows,
    quant_type_of,
    quantized_version_of,
)

__all__ = [
    'QUANT_LAYERS',
    'QuantMixin',
    'channel_rows',
    'quant_type_of',
    'quantized_version_of',
]
