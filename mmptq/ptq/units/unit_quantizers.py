"""The quantizers of a unit and their learned parameters."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from mmptq.quantization import FakeQuantizer, HardRounding
from mmptq.utils.errors import QuantizationError

from .unit import Unit
from .weight_rounding import WeightRounding


class UnitQuantizers:
    """Adds learnable parameters to the quantizers of a unit and removes them again.

    Args:
        unit (Unit): The unit, calibrated.
        learned (Collection[FakeQuantizer]): Quantizers of weights that earlier units share with
            this one, which stay as they are. Defaults to ().

    Attributes:
        roundings (list[nn.Module]): Of the weights, while they are being learned.
        scale_deltas (list[nn.Parameter]): Of the input scales, while they are being learned.

    Raises:
        QuantizationError: If a quantizer of the unit was not calibrated.
    """

    def __init__(self, unit: Unit, learned: Collection[FakeQuantizer] = ()):
        self.layers = unit.layers
        self.weights = self._slots('weight_quantizer')
        # Layers that share a weight share its quantizer: it is learned once, under its first name.
        first = {quantizer: name for name, quantizer in reversed(self.weights.items())}
        self.weights = {
            name: quantizer
            for name, quantizer in self.weights.items()
            if first[quantizer] == name and quantizer not in learned
        }
        self.inputs = self._slots('input_quantizer')
        self.roundings: list[nn.Module] = []
        self.scale_deltas: list[nn.Parameter] = []

    def _slots(self, slot: str) -> dict[str, FakeQuantizer]:
        found = {name: getattr(layer, slot) for name, layer in self.layers.items()}
        found = {name: q for name, q in found.items() if isinstance(q, FakeQuantizer)}
        for name, quantizer in found.items():
            if not quantizer.calibrated:
                raise QuantizationError(
                    f"'{name}' has no scale yet: put a stage that calibrates, such as "
                    "dict(type='Calibrator'), before the one that learns"
                )
        return found

    def learn(self, rounding: WeightRounding | None, act_scale: bool, drop_prob: float) -> None:
        """Start learning.

        Args:
            rounding (WeightRounding, optional): None leaves the rounding of weights as it is.
            act_scale (bool): Whether scales of layer inputs are learned.
            drop_prob (float): Share of the values of layer inputs that stay float at random.
        """
        for name, quantizer in self.weights.items() if rounding is not None else ():
            quantizer.rounding = rounding.begin(self.layers[name].weight, quantizer)
            self.roundings.append(quantizer.rounding)
        for quantizer in self.inputs.values():
            quantizer.drop_prob = drop_prob
            if act_scale:
                quantizer.log_scale_delta = nn.Parameter(torch.zeros_like(quantizer.scale))
                self.scale_deltas.append(quantizer.log_scale_delta)

    @torch.no_grad()
    def commit(self) -> None:
        """Stop learning: every weight rounded for good, every learned scale in its buffer."""
        for quantizer in self.weights.values():
            if any(quantizer.rounding is learned for learned in self.roundings):
                quantizer.rounding = quantizer.rounding.harden()
        for quantizer in self.inputs.values():
            quantizer.scale.copy_(quantizer.learned_scale())
            quantizer.log_scale_delta = None
            quantizer.drop_prob = 0.0
        self.roundings, self.scale_deltas = [], []

    def state(self) -> dict[str, Any]:
        """The learned rounding and scales, as tensors and plain data."""
        round_up = {name: getattr(q.rounding, 'round_up', None) for name, q in self.weights.items()}
        scale = {name: q.scale.clone() for name, q in self.inputs.items()}
        return dict(round_up=round_up, scale=scale)

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``; ends learning."""
        self.commit()
        for name, round_up in state['round_up'].items():
            device = self.layers[name].weight.device
            rounding = None if round_up is None else HardRounding(round_up.to(device))
            self.weights[name].rounding = rounding
        for name, scale in state['scale'].items():
            self.inputs[name].scale.copy_(scale)
