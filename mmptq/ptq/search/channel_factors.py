"""Factors that give all channels of a tensor the range of one grid."""

import torch
from torch import Tensor

from mmptq.observers.observer import value_range
from mmptq.quantization import FakeQuantizer, QScheme, QuantMixin, choose_qparams

# A channel with a range below this share of the largest one holds nothing but zeros.
DEAD = 1e-7
# Places of the zero point that are tried.
NUM_SHARES = 256


def channel_widths(low: Tensor, high: Tensor, scheme: QScheme) -> Tensor:
    """Width (C,) of the grid that each channel needs, all with the same zero point.

    On an asymmetric grid the zero point divides the levels into a share below zero and one above.
    One share has to suit all channels: after SiLU they all reach down to -0.28, and up to 0.1 or
    to 100. The share with the smallest squared steps, relative to the ranges, is taken.

    Args:
        low (Tensor): (C,) lower ends, at most 0.
        high (Tensor): (C,) upper ends, at least 0.
        scheme (QScheme): The grid.
    """
    if scheme.symmetric:
        return high if scheme.signed is False else torch.maximum(-low, high)
    shares = torch.linspace(0, 1, NUM_SHARES + 1, device=low.device).view(-1, 1)
    # 0 / 0 where nothing lies on a side that gets no levels.
    below = torch.where(low < 0, -low / shares, 0)
    above = torch.where(high > 0, high / (1 - shares), 0)
    widths = torch.maximum(below, above)
    ranges = high - low
    alive = ranges > DEAD * ranges.max()
    relative = widths[:, alive] / ranges[alive]
    return widths[relative.square().mean(1).argmin()]


def channel_factors(widths: Tensor, alpha: float) -> Tensor:
    """Factors (C,) that even out the widths: wholly for ``alpha=1``, not at all for 0.

    Their geometric mean is 1. Channels that hold nothing but zeros keep their numbers.
    """
    alive = widths > DEAD * widths.max()
    logs = widths.clamp(min=torch.finfo(widths.dtype).tiny).log()
    factors = ((logs[alive].mean() - logs) * alpha).exp()
    return torch.where(alive, factors, torch.ones_like(factors))


def bits_gained(low: Tensor, high: Tensor, widths: Tensor) -> float:
    """Mean over the channels of the bits that one grid for the whole tensor leaves unused."""
    alive = widths > DEAD * widths.max()
    if not alive.any():
        return 0.0
    return ((high.max() - low.min()) / widths[alive]).log2().mean().item()


@torch.no_grad()
def trial_error(
    layer: QuantMixin, call: tuple, target: Tensor, factors: Tensor, ends: tuple[Tensor, Tensor]
) -> float:
    """Squared error of the output of a layer that multiplies its input by these factors.

    Input and weight are quantized on the ranges that hold all their values; afterwards the layer
    is what it was.

    Args:
        layer (QuantMixin): Float so far, without factors.
        call (tuple): Its arguments and keyword arguments.
        target (Tensor): Its float output.
        factors (Tensor): (C,).
        ends (tuple[Tensor, Tensor]): Lower and upper ends (C,) of the input.
    """
    weight = layer.weight.clone()
    slots = [layer.input_quantizer, layer.weight_quantizer]
    slots = [slot for slot in slots if isinstance(slot, FakeQuantizer)]
    before = [(slot.scale.clone(), slot.zero_point.clone(), slot.enabled) for slot in slots]
    low, high = (end.to(factors.device) for end in ends)
    try:
        layer.set_multiplier(factors)
        for slot in slots:
            slot.enabled = True
            if slot is layer.input_quantizer:
                ranges = (low * factors).min().view(1), (high * factors).max().view(1)
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
