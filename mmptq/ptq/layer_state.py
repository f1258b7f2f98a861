"""Settings of a quantized layer that stages choose."""

from dataclasses import dataclass

from torch import nn


@dataclass
class LayerState:
    """A quantized layer and the settings that stages chose for it.

    Attributes:
        name (str): Module name.
        module (nn.Module): The module.
        p (float, optional): Exponent of the error that its scales minimise; None leaves it to
            the observer's config. Defaults to None.
        input_range (tuple[float, float], optional): Ends of the input's range, found together
            with something else; None leaves them to the observer. Defaults to None.
    """

    name: str
    module: nn.Module
    p: float | None = None
    input_range: tuple[float, float] | None = None
