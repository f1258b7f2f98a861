"""The steps of a PTQ run."""

from .activation_cache import ActivationCache
from .bias_correction import BiasCorrection
from .calibrator import Calibrator
from .context import PTQContext
from .distillation import Distillation
from .equalization import CrossLayerEqualization
from .fisher_importance import FisherImportance
from .lp_selector import LpSelector
from .reconstructor import Reconstructor
from .units import Unit

__all__ = [
    'ActivationCache',
    'BiasCorrection',
    'Calibrator',
    'CrossLayerEqualization',
    'Distillation',
    'FisherImportance',
    'LpSelector',
    'PTQContext',
    'Reconstructor',
    'Unit',
]
