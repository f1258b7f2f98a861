"""The steps of a PTQ run."""

from .bits.accuracy_control import AccuracyControl
from .bits.bit_allocation import BitAllocation
from .context import PTQContext
from .layer_state import LayerState
from .remedies.auto_tuner import AutoTuner
from .replay.activation_cache import ActivationCache
from .stages import (
    BiasCorrection,
    Calibrator,
    ChannelMultiplier,
    CrossLayerEqualization,
    Distillation,
    LpSelector,
    Reconstructor,
    ScaleRefiner,
    Stage,
    build_stages,
)
from .teacher.fisher_importance import FisherImportance
from .teacher.importance import Importance
from .teacher.inlier_importance import InlierImportance
from .units.ada_round import AdaRound
from .units.weight_rounding import WeightRounding

__all__ = [
    'AccuracyControl',
    'ActivationCache',
    'AutoTuner',
    'AdaRound',
    'BiasCorrection',
    'BitAllocation',
    'Calibrator',
    'ChannelMultiplier',
    'CrossLayerEqualization',
    'Distillation',
    'FisherImportance',
    'Importance',
    'InlierImportance',
    'LpSelector',
    'PTQContext',
    'Reconstructor',
    'ScaleRefiner',
    'LayerState',
    'Stage',
    'WeightRounding',
    'build_stages',
]
