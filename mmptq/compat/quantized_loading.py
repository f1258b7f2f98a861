"""Lets mmengine's loading functions meet quantized checkpoints."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import mmengine.runner
from mmengine.runner import checkpoint
from torch import nn

from .patches import replace_attribute

LoadQuantized = Callable[[nn.Module, dict[str, Any]], bool]
_loaders: list[LoadQuantized] = []


def set_quantized_loader(load: LoadQuantized) -> None:
    """Name the function that loads quantized state dicts.

    Args:
        load (Callable): Takes a model and a state dict; returns False where the state dict is not
            a quantized one, and then changes nothing.
    """
    _loaders[:] = [load]


def load_quantized_checkpoints() -> Callable[[], None]:
    """Give ``init_detector``, ``init_model``, ``DetInferencer`` and others the quantized model.

    All of them end in ``mmengine.runner.checkpoint.load_state_dict``, which loads what fits and
    warns of the rest: of a quantized checkpoint it would take a part.

    Returns:
        Callable: Undoes it.
    """
    original = checkpoint.load_state_dict

    @wraps(original)
    def load_state_dict(
        module: nn.Module, state_dict: dict[str, Any], strict: bool = False, logger: Any = None
    ) -> None:
        if not any(load(module, state_dict) for load in _loaders):
            original(module, state_dict, strict, logger)

    undo = [
        replace_attribute(owner, 'load_state_dict', load_state_dict)
        for owner in (checkpoint, mmengine.runner)
    ]
    return lambda: [function() for function in undo]
