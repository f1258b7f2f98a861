"""Lets mmengine's loading functions meet quantized checkpoints."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import mmengine.runner
from mmengine.runner import BaseLoop, Runner, checkpoint
from torch import nn

from mmptq.utils.errors import QuantizationError

from .patches import replace_attribute

TRAINING = (
    'is quantized, and a training would move its weights off their grid: start from the float '
    'checkpoint'
)
LoadQuantized = Callable[[nn.Module, dict[str, Any]], bool]
_loaders: list[LoadQuantized] = []


def set_quantized_loader(load: LoadQuantized) -> None:
    """Name the function that loads quantized state dicts.

    Args:
        load (Callable): Takes a model and a state dict; returns False where the state dict is not
            a quantized one, and then changes nothing.
    """
    _loaders[:] = [load]


def is_training(runner: Runner) -> bool:
    """Whether a runner is about to train; one that tests may have built a train loop, too."""
    loop = runner._train_loop
    training = isinstance(loop, BaseLoop) and not getattr(loop, 'quantizes', False)
    return training and not isinstance(runner._test_loop, BaseLoop)


def load_quantized_checkpoints() -> Callable[[], None]:
    """Give ``init_detector``, ``init_model``, ``DetInferencer`` and others the quantized model.

    All of them end in ``mmengine.runner.checkpoint.load_state_dict``, which loads what fits and
    warns of the rest: of a quantized checkpoint it would take a part. A runner that is about to
    train refuses one.

    Returns:
        Callable: Undoes it.
    """
    original, load_or_resume = checkpoint.load_state_dict, Runner.load_or_resume
    loaded: list[nn.Module] = []

    @wraps(original)
    def load_state_dict(
        module: nn.Module, state_dict: dict[str, Any], strict: bool = False, logger: Any = None
    ) -> None:
        if any(load(module, state_dict) for load in _loaders):
            loaded.append(module)
        else:
            original(module, state_dict, strict, logger)

    @wraps(load_or_resume)
    def load_or_resume_float(self: Runner) -> None:
        loaded.clear()
        load_or_resume(self)
        if loaded and is_training(self):
            raise QuantizationError(f"checkpoint '{self._load_from}' {TRAINING}")

    undo = [
        replace_attribute(owner, 'load_state_dict', load_state_dict)
        for owner in (checkpoint, mmengine.runner)
    ]
    undo.append(replace_attribute(Runner, 'load_or_resume', load_or_resume_float))
    return lambda: [function() for function in undo]
