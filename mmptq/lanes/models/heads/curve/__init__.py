"""Curve-based lane heads."""

from .bezier_head import BezierHead
from .lstr_head import LSTRHead

__all__ = [
    'BezierHead',
    'LSTRHead',
]
