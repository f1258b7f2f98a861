"""The thing that is calibrated or reconstructed."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class LayerState:
    """A part of the model and the settings that stages chose for it.

    Attributes:
        name (str): Module name.
        module (nn.Module): The module.
        p (float, optional): Exponent of the error that its scales minimise; None leaves it to
            the observer's config. Defaults to None.
        importance (Tensor, optional): Weights of the error by position. Defaults to None.
    """

    name: str
    module: nn.Module
    p: float | None = None
    importance: Tensor | None = None
