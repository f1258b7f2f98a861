"""What is known of each quantized layer: its input, its errors, and where it stands."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmptq.quantization import FakeQuantizer

from .diagnosis import column_norms
from .input_origin import InputOrigin


@dataclass
class LayerFacts:
    """What the rules look at; errors are relative squared errors of the layer's output.

    Attributes:
        name (str): Name of the layer.
        layer (nn.Module): The layer.
        origin (InputOrigin): Where its input comes from.
        last (bool): Whether no further layer reads its output.
        points (bool): Whether it reads raw points: the first layer of a LiDAR model.
        behind_depthwise (bool): Whether its input comes from a depthwise convolution, directly or
            over one more layer.
        low (Tensor): (C,) smallest value of each input channel; empty where the input is float.
        high (Tensor): (C,) largest value.
        deviation (Tensor): (C,) standard deviation.
        tail (float): Largest magnitude over that which 99.9 % of the values do not exceed.
        own (float): Error where this layer alone is quantized.
        own_input (float): Where its input alone is.
        own_weight (float): Where its weight alone is.
        accumulated (float): Error where all layers are.
        cost (float): Multiplications on the samples.
        shift (float): Share of the accumulated error that is a constant of each output channel.
    """

    name: str
    layer: nn.Module
    origin: InputOrigin = field(default_factory=InputOrigin)
    last: bool = False
    points: bool = False
    behind_depthwise: bool = False
    low: Tensor = field(default_factory=lambda: torch.empty(0, device='cpu'))
    high: Tensor = field(default_factory=lambda: torch.empty(0, device='cpu'))
    deviation: Tensor = field(default_factory=lambda: torch.empty(0, device='cpu'))
    tail: float = 1.0
    own: float = 0.0
    own_input: float = 0.0
    own_weight: float = 0.0
    accumulated: float = 0.0
    cost: float = 0.0
    shift: float = 0.0

    @property
    def depthwise(self) -> bool:
        """Whether each channel has filters of its own."""
        return is_depthwise(self.layer)

    @property
    def step(self) -> float | None:
        """Step of the input where it has one scale; None where it is float or has several."""
        quantizer = getattr(self.layer, 'input_quantizer', None)
        if not isinstance(quantizer, FakeQuantizer) or quantizer.scale.numel() != 1:
            return None
        return quantizer.scale.item()

    @property
    def num_outputs(self) -> int:
        """Output channels."""
        return self.layer.weight.shape[getattr(self.layer, 'weight_axis', 0)]

    @property
    def ratio(self) -> float:
        """Range of the widest input channel over that of a typical one, without dead channels.

        Typical is the median or the geometric mean, whichever is smaller.
        """
        return _unevenness(self.high - self.low)

    @property
    def weight_ratio(self) -> float:
        """The same of the weights that read each input channel; dead channels count, too."""
        return _unevenness(column_norms(self.layer).cpu())


def _unevenness(ranges: Tensor) -> float:
    alive = ranges[ranges > 0]
    if not alive.numel():
        return 1.0
    return float(alive.max() / torch.minimum(alive.median(), alive.log().mean().exp()))


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a layer is a depthwise convolution."""
    groups = getattr(layer, 'groups', 1)
    return groups > 1 and groups == layer.in_channels
