"""The unit of reconstruction."""

from dataclasses import dataclass

from torch import nn

from mmptq.quantization import QuantMixin


@dataclass
class Unit:
    """A module that is reconstructed as a whole.

    Attributes:
        name (str): Module name; '' is the whole model.
        module (nn.Module): The module.
        layers (dict[str, QuantMixin]): The quantized layers inside by name, in order of execution.
        num_calls (int): How often it runs per forward of the model.
    """

    name: str
    module: nn.Module
    layers: dict[str, QuantMixin]
    num_calls: int = 1
