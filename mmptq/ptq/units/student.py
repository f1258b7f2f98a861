"""A quantized network whose weights, biases and scales are trained together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mmptq.ptq.teacher.fixed_parameters import fixed_parameters
from mmptq.quantization import quantizers_off
from mmptq.utils.trees import copy_tensors

from .unit_quantizers import UnitQuantizers

# A weight within this distance of a grid point, in steps, is rounded to it.
INSIDE = 0.49


class Student:
    """Trained tensors of the quantized layers: weights, biases, scales of inputs.

    Args:
        model (nn.Module): The model.
        quantizers (UnitQuantizers): Of all its quantized layers.
    """

    def __init__(self, model: nn.Module, quantizers: UnitQuantizers):
        self.model = model
        self.quantizers = quantizers
        self.parameters: dict[str, nn.Parameter] = {}
        self.sizes: dict[str, float] = {}  # of the weight of each parameter's layer
        for name, layer in quantizers.layers.items():
            for key, x in layer.named_parameters(name, recurse=False):
                if x.is_floating_point() and all(x is not y for y in self.parameters.values()):
                    self.parameters[key] = x
                    self.sizes[key] = layer.weight.detach().square().mean().sqrt().item()

    @contextmanager
    def learning(self, lr: float, act_lr: float | None) -> Iterator[torch.optim.Optimizer]:
        """Within this context everything is learned; at the end it is rounded for good."""
        self._write_learned_rounding()
        with fixed_parameters(self.model):
            for x in self.parameters.values():
                x.requires_grad_(True)
            self.quantizers.learn(None, act_lr is not None, 0.0)
            groups = [
                dict(params=[x], initial_lr=lr * self.sizes[name])
                for name, x in self.parameters.items()
            ]
            groups += [dict(params=[x], initial_lr=act_lr) for x in self.quantizers.scale_deltas]
            try:
                yield torch.optim.Adam(groups)
            finally:
                self.quantizers.commit()
                for x in self.parameters.values():
                    x.requires_grad_(False)
                    x.grad = None

    @contextmanager
    def as_float(self, state: dict[str, Any]) -> Iterator[None]:
        """Within this context the model is the float model, without gradients.

        Args:
            state (dict): From ``state``, before anything was learned.
        """
        learned = {name: x.data for name, x in self.parameters.items()}
        for name, x in self.parameters.items():
            x.data = state['parameters'][name]
        try:
            with torch.no_grad(), quantizers_off(self.model):
                yield
        finally:
            for name, x in self.parameters.items():
                x.data = learned[name]

    @torch.no_grad()
    def _write_learned_rounding(self) -> None:
        """Move weights just far enough that rounding to the nearest gives the learned rounding.

        They stay close to their float values, so that training can still revert a decision.
        """
        for name, quantizer in self.quantizers.weights.items():
            if quantizer.rounding is not None:
                weight = self.quantizers.layers[name].weight
                half = INSIDE * quantizer.scheme.broadcast(quantizer.scale, weight.dim())
                learned = quantizer(weight)
                quantizer.rounding = None
                moved = weight.clamp(learned - half, learned + half)
                weight.copy_(torch.where(quantizer(weight) == learned, weight, moved))

    def state(self) -> dict[str, Any]:
        """A copy of everything that may change."""
        return dict(
            quantizers=self.quantizers.state(),
            parameters=copy_tensors({name: x.data for name, x in self.parameters.items()}),
        )

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of ``state``."""
        self._load_parameters(state)
        self.quantizers.load_state(state['quantizers'])

    def progress(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Where training is, as tensors and plain data."""
        return dict(
            parameters={name: x.detach() for name, x in self.parameters.items()},
            scale_deltas=[x.detach() for x in self.quantizers.scale_deltas],
            optimizer=optimizer.state_dict(),
        )

    @torch.no_grad()
    def load_progress(self, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Inverse of ``progress``."""
        self._load_parameters(progress)
        for delta, x in zip(self.quantizers.scale_deltas, progress['scale_deltas'], strict=True):
            delta.copy_(x)
        optimizer.load_state_dict(progress['optimizer'])

    def _load_parameters(self, state: dict[str, Any]) -> None:
        for name, x in state['parameters'].items():
            self.parameters[name].copy_(x)
