"""The steps of a PTQ run."""

from .activation_cache import ActivationCache
from .calibrator import Calibrator
from .context import PTQContext
from .reconstructor import Reconstructor
from .units import Unit

__all__ = ['ActivationCache', 'Calibrator', 'PTQContext', 'Reconstructor', 'Unit']
