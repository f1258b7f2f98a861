"""The state of the quantized layers, to which a trial can be undone."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from mmptq.ptq.context import PTQContext
from mmptq.quantization import FakeQuantizer
from mmptq.quantization.placement import LayerPlan

SLOTS = ('weight_quantizer', 'input_quantizer')


class Snapshot:
    """Weights, biases, factors, scales and plan of all quantized layers.

    Args:
        ctx (PTQContext): Calibrated. Layers must not become float, or get other bits, before
            ``restore``.
    """

    def __init__(self, ctx: PTQContext):
        names = [f.name for f in fields(LayerPlan)]
        self._plans = [
            (plan, {name: getattr(plan, name) for name in names}) for plan in ctx.plan.layers
        ]
        self._ranges = [(state, state.input_range) for state in ctx.layers.values()]
        self._layers = [(state.module, _state(state.module)) for state in ctx.layers.values()]

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for plan, values in self._plans:
            for name, value in values.items():
                setattr(plan, name, value)
        for state, ends in self._ranges:
            state.input_range = ends
        for layer, state in self._layers:
            for name, value in state['parameters'].items():
                getattr(layer, name).copy_(value)
            layer.input_multiplier = state['multiplier']
            for slot, qparams in state['qparams'].items():
                getattr(layer, slot).set_qparams(*qparams)


def _state(layer: Any) -> dict[str, Any]:
    multiplier: Tensor | None = getattr(layer, 'input_multiplier', None)
    slots = {name: getattr(layer, name) for name in SLOTS}
    return dict(
        parameters={k: v.detach().clone() for k, v in layer.named_parameters(recurse=False)},
        multiplier=None if multiplier is None else multiplier.clone(),
        qparams={
            name: (slot.scale.clone(), slot.zero_point.clone())
            for name, slot in slots.items()
            if isinstance(slot, FakeQuantizer)
        },
    )
