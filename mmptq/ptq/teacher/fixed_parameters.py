"""Learning a few tensors of a model whose parameters stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def fixed_parameters(model: nn.Module) -> Iterator[None]:
    """Within this context no parameter of the model wants a gradient."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
