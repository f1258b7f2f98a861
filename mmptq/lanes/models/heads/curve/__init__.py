"""Heads that give curves."""

from .bezier_head import BezierHead
from .lstr_head import LSTRHead

__all__ = [
    'BezierHead',
    'LSTRHead',
]
