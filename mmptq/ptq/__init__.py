"""The steps of a PTQ run."""

from .context import PTQContext
from .layer_state import LayerState
from .replay.activation_cache import ActivationCache
from .stages import (
    BiasCorrection,
    Calibrator,
    CrossLayerEqualization,
    Distillation,
    LpSelector,
    Reconstructor,
    Stage,
    build_stages,
)
from .teacher.fisher_importance import FisherImportance

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
    'LayerState',
    'Stage',
    'build_stages',
]
