"""The quantized version of each float layer type, and what all versions share."""

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from mmptq.quantization.fake_quantizer import FakeQuantizer
from mmptq.quantization.scheme import QScheme

QUANT_LAYERS: dict[type, type] = {}
"""Float layer type to quantized layer type; other files add their types on import."""


def quantized_version_of(*float_types: type):
    """Class decorator that enters a quantized layer type into ``QUANT_LAYERS``."""

    def register(quant_type: type) -> type:
        for float_type in float_types:
            QUANT_LAYERS[float_type] = quant_type
        return quant_type

    return register


def quant_type_of(float_type: type) -> type | None:
    """Quantized version of a float layer type, or None where there is none.

    A subclass of a known layer counts as known when it computes the same: it overrides neither
    ``forward`` nor ``_conv_forward``. ``out_proj`` of ``nn.MultiheadAttention`` is such a
    subclass, but its own forward never runs.
    """
    if float_type in QUANT_LAYERS or float_type is NonDynamicallyQuantizableLinear:
        return QUANT_LAYERS.get(float_type)
    base = next((base for base in float_type.__mro__ if base in QUANT_LAYERS), None)
    if base is None:
        return None
    for method in ('forward', '_conv_forward'):
        if getattr(float_type, method, None) is not getattr(base, method, None):
            return None
    quant_type = type(f'Quant{float_type.__name__}', (QUANT_LAYERS[base], float_type), {})
    QUANT_LAYERS[float_type] = quant_type
    return quant_type


def float_type_of(quant_type: type) -> type:
    """Inverse of ``quant_type_of``; the plain layer of torch for mmcv's wrapper around it."""
    return next(known for known, found in QUANT_LAYERS.items() if found is quant_type)


def channel_rows(layer: 'QuantMixin', x: Tensor) -> Tensor:
    """Values (C, N) of an input or output of a quantized layer, by channel."""
    unbatched = x.dim() + 1 == getattr(layer, 'batched_dims', None)
    return x.transpose(0, layer.channel_axis - unbatched).flatten(1)


def _new_layer(float_type: type) -> nn.Module:
    """An empty quantized layer, which its pickled state fills."""
    quant_type = quant_type_of(float_type)
    return quant_type.__new__(quant_type)


class QuantMixin:
    """A weighted layer that quantizes its own input and weight.

    A layer is converted by assigning its ``__class__``, never constructed: it stays the same
    object, so shared modules, hooks, parameter names and ``isinstance`` checks survive.

    Attributes:
        weight_axis (int): Axis of the weight with the output channels.
        channel_axis (int): Axis of the input with the channels.
        batched_dims (int, optional): Axes of an input with a batch axis, where the layer takes one
            without, too: (C, H, W) for (B, C, H, W).
        takes_multiplier (bool): Whether the layer can multiply its input by channel.
        input_multiplier (Tensor, optional): (C,) factors of the input channels, by whose inverse
            the weight is scaled; None for a layer without them.
        input_quantizer (nn.Module): A FakeQuantizer, or nn.Identity for a float input.
        weight_quantizer (nn.Module): A FakeQuantizer, or nn.Identity for a float weight.
    """

    weight_axis = 0
    channel_axis = 1
    batched_dims: int | None = None
    takes_multiplier = False

    def attach(self, weight: QScheme | None, act: QScheme | None) -> None:
        """Add the two quantizer slots; None leaves that tensor float."""
        self.register_buffer('input_multiplier', None)
        self.set_quantizer('weight', weight)
        self.set_quantizer('input', act)

    def set_quantizer(self, tensor: str, scheme: QScheme | None) -> None:
        """Give the slot of 'weight' or 'input' a new quantizer; None leaves that tensor float."""
        if scheme is None:
            quantizer = nn.Identity()
        else:
            is_weight = tensor == 'weight'
            size = self.weight.shape[self.weight_axis] if is_weight else self.num_input_channels
            quantizer = FakeQuantizer(scheme, 1 if scheme.channel_axis is None else size)
        setattr(self, f'{tensor}_quantizer', quantizer.to(self.weight.device))

    def quantize_input(self, x: Tensor) -> Tensor:
        """The input, multiplied and quantized; the quantizer always sees a batch axis."""
        if self.input_multiplier is not None:
            x = x * self.input_multiplier.view(-1, *self._spatial_ones())
        if x.dim() + 1 == self.batched_dims:
            return self.input_quantizer(x.unsqueeze(0)).squeeze(0)
        return self.input_quantizer(x)

    @torch.no_grad()
    def set_multiplier(self, multiplier: Tensor | None) -> None:
        """Multiply the input by channel, and divide the weight, so that the output stays the same.

        Args:
            multiplier (Tensor, optional): (C,) positive factors; they replace those that the layer
                has. None takes them away.
        """
        for factors, power in ((self.input_multiplier, 1), (multiplier, -1)):
            if factors is not None:
                self.weight.mul_(self._along_inputs(factors.to(self.weight).pow(power)))
        self.input_multiplier = None if multiplier is None else multiplier.to(self.weight)

    def expect_multiplier(self) -> None:
        """Add the factors, which a checkpoint fills together with the weight."""
        self.input_multiplier = self.weight.new_ones(self.num_input_channels)

    def _spatial_ones(self) -> list[int]:
        """Sizes after that of the channels, with which factors (C,) broadcast over an input."""
        return [1] * ((self.batched_dims or 2) - 2)

    def _along_inputs(self, factors: Tensor) -> Tensor:
        """Factors (C,) of the input channels in a shape that broadcasts over the weight."""
        ones = [1] * (self.weight.dim() - 2)
        if self.weight_axis == 1:
            return factors.view(-1, 1, *ones)  # (in, out, k...)
        # (out, in / groups, k...): a group of inputs is read by a group of outputs.
        groups = getattr(self, 'groups', 1)
        rows = factors.view(groups, -1).repeat_interleave(len(self.weight) // groups, 0)
        return rows.view(len(self.weight), -1, *ones)

    def __reduce_ex__(self, protocol: int) -> tuple:
        """Pickle by the float type: classes of subclassed layers are made while running."""
        _, _, *state = super().__reduce_ex__(protocol)
        return _new_layer, (float_type_of(type(self)),), *state

    def detach(self) -> None:
        """Become a float layer again, without quantizer slots."""
        self.set_multiplier(None)
        del self.weight_quantizer, self.input_quantizer, self.input_multiplier
        self.__class__ = float_type_of(type(self))

    @property
    def num_input_channels(self) -> int:
        """Channels of the input."""
        return self.in_channels
