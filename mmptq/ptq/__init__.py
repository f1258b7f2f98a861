"""The steps of a PTQ run."""

from .calibrator import Calibrator
from .context import PTQContext
from .units import Unit

__all__ = ['Calibrator', 'PTQContext', 'Unit']
