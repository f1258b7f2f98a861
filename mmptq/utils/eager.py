"""Running compiled modules as plain Python."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def is_compiled(model: nn.Module) -> bool:
    """Whether a part of the model goes through ``torch.compile``."""
    return any(
        type(module).__name__ == 'OptimizedModule'
        or getattr(module, '_compiled_call_impl', None) is not None
        for module in model.modules()
    )


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Within this context nothing of the model is compiled: hooks on its modules run."""
    if not is_compiled(model):
        yield
        return
    with torch.compiler.set_stance('force_eager'):
        yield
