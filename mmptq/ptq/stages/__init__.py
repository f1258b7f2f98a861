"""The steps of a recipe, one per file."""

from .bias_correction import BiasCorrection
from .calibrator import Calibrator
from .cross_layer_equalization import CrossLayerEqualization
from .distillation import Distillation
from .lp_selector import LpSelector
from .reconstructor import Reconstructor

__all__ = [
    'BiasCorrection',
    'Calibrator',
    'CrossLayerEqualization',
    'Distillation',
    'LpSelector',
    'Reconstructor',
]
