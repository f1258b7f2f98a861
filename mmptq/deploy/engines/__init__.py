"""What runs exported files."""

from .engines import Engine, open_engine

__all__ = [
    'Engine',
    'open_engine',
]
