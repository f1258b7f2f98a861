"""What every tool does with a model."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The detector inside of a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model
