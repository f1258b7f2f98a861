"""The output error of one layer with factors for its input channels."""

import torch
from torch import Tensor

from mmptq.observers.observer import value_range
from mmptq.quantization import FakeQuantizer, QuantMixin, choose_qparams


@torch.no_grad()
def trial_error(
    layer: QuantMixin, call: tuple, target: Tensor, factors: Tensor, ends: tuple[float, float]
) -> float:
    """Squared error of the output of a layer that multiplies its input by these factors.

    The weight is quantized on the range that holds all its values; afterwards the layer is what
    it was.

    Args:
        layer (QuantMixin): Float so far, without factors.
        call (tuple): Its arguments and keyword arguments.
        target (Tensor): Its float output.
        factors (Tensor): (C,).
        ends (tuple[float, float]): Of the multiplied input.
    """
    weight = layer.weight.clone()
    slots = [layer.input_quantizer, layer.weight_quantizer]
    slots = [slot for slot in slots if isinstance(slot, FakeQuantizer)]
    before = [(slot.scale.clone(), slot.zero_point.clone(), slot.enabled) for slot in slots]
    try:
        layer.set_multiplier(factors)
        for slot in slots:
            slot.enabled = True
            if slot is layer.input_quantizer:
                ranges = tuple(factors.new_tensor([end]) for end in ends)
            else:
                ranges = _weight_range(layer, slot)
            slot.set_qparams(*choose_qparams(*ranges, slot.scheme))
        args, kwargs = call
        return (layer.forward(*args, **kwargs) - target).double().square().sum().item()
    finally:
        layer.input_multiplier = None
        layer.weight.copy_(weight)
        for slot, (scale, zero_point, enabled) in zip(slots, before, strict=True):
            slot.set_qparams(scale, zero_point)
            slot.enabled = enabled


def _weight_range(layer: QuantMixin, quantizer: FakeQuantizer) -> tuple[Tensor, Tensor]:
    rows = layer.weight.detach().transpose(0, layer.weight_axis).flatten(1)
    per_tensor = quantizer.scheme.channel_axis is None
    return value_range(rows.reshape(1, -1) if per_tensor else rows)
