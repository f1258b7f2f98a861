"""Running a model only as far as one of its modules."""

from collections.abc import Callable
from typing import Any

from torch import nn

from .hooks import temporary_hooks


class StopForward(Exception):
    """Raised by a hook to end a forward pass early."""


def output_of(module: nn.Module, run: Callable[[], Any]) -> Any:
    """Output of the first call of ``module`` while ``run()`` runs; nothing after it runs.

    Args:
        module (nn.Module): A part of the model that ``run`` runs.
        run (Callable): Runs the model.

    Raises:
        RuntimeError: If ``run`` ended and the module was never called.
    """
    found = []

    def hook(module, args, output):
        found.append(output)
        raise StopForward

    try:
        with temporary_hooks(after={module: hook}):
            run()
    except StopForward:
        if not found:
            raise  # a hook of the caller
        return found[0]
    raise RuntimeError(f'{type(module).__name__} did not run')
