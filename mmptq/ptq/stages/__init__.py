"""The steps of a recipe, one per file."""

from .bias_correction import BiasCorrection
from .calibrator import Calibrator
from .channel_multiplier import ChannelMultiplier
from .cross_layer_equalization import CrossLayerEqualization
from .distillation import Distillation
from .lp_selector import LpSelector
from .recipe import build_stages
from .reconstructor import Reconstructor
from .scale_refiner import ScaleRefiner
from .stage import ADAPTER, FLOAT_MODEL, RANGES, UNLEARNED, Stage

__all__ = [
    'ADAPTER',
    'BiasCorrection',
    'Calibrator',
    'ChannelMultiplier',
    'CrossLayerEqualization',
    'Distillation',
    'FLOAT_MODEL',
    'LpSelector',
    'RANGES',
    'Reconstructor',
    'ScaleRefiner',
    'Stage',
    'UNLEARNED',
    'build_stages',
]
