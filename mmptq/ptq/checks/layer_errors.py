"""Errors of the outputs of all layers: each layer alone quantized, and all of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.quantization import FakeQuantizer, QuantMixin, quantizers_off
from mmptq.quantization.layers import channel_rows
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import copy_tensors, is_sparse

from .input_values import InputValues

KINDS = ('own', 'own_input', 'own_weight', 'accumulated')
PARTS = dict(own=('input', 'weight'), own_input=('input',), own_weight=('weight',))
# Values of an output that are compared, at evenly spread positions.
NUM_VALUES = 2**14
# What a constant output counts, as a share of its power.
CONSTANT = 1e-3


class LayerErrors:
    """Relative squared errors of the output of each quantized layer, on some samples.

    The own error is that on float inputs with this layer alone quantized; the accumulated error
    is that with all layers quantized. Both come from two forwards per sample.

    Args:
        ctx (PTQContext): Calibrated.

    Attributes:
        inputs (InputValues): What the layer inputs of the float model look like.
    """

    def __init__(self, ctx: PTQContext):
        self.ctx = ctx
        self.layers = {state.module: name for name, state in ctx.layers.items()}
        self.inputs = InputValues()
        self._sums = {name: dict.fromkeys((*KINDS, 'power', 'cost'), 0.0) for name in ctx.layers}
        self._shifts: dict[str, list[Any]] = {name: [0, 0.0] for name in ctx.layers}
        self._float: dict[str, list[Tensor]] = {}
        self._calls: list[tuple] = []
        self._alone = False  # whether a layer runs once more, by itself

    @torch.no_grad()
    def measure(self, batches: Iterable[Any]) -> None:
        """Take in the errors on these batches."""
        with temporary_hooks(before=self._input_hooks()):
            for data in batches:
                self._float = {}
                before = temporary_hooks(dict.fromkeys(self.layers, self._keep), with_kwargs=True)
                after = temporary_hooks(after=dict.fromkeys(self.layers, self._compare_alone))
                with quantizers_off(self.ctx.model), before, after:
                    self.ctx.predict(copy_tensors(data))  # which a model may change in place
                self._alone = True
                counts = dict.fromkeys(self._float, 0)
                hook = partial(self._compare, counts)
                with temporary_hooks(after=dict.fromkeys(self.layers, hook)):
                    self.ctx.predict(data)
                self._alone = False

    def results(self) -> dict[str, dict[str, float]]:
        """Errors by kind, multiplications as ``cost``, and ``shift``, for each layer that ran.

        They are those of the samples of all processes. ``shift`` is the share of the accumulated
        error that is a constant of each output channel.
        """
        parts, shifts = parallel.gather(self._sums), parallel.gather(self._shifts)
        results = {}
        for name in self._sums:
            sums = {key: sum(part[name][key] for part in parts) for key in self._sums[name]}
            power, cost = sums.pop('power'), sums.pop('cost')
            if power > 0:
                results[name] = {key: error / power for key, error in sums.items()}
                results[name]['cost'] = cost
                results[name]['shift'] = _share(
                    [part[name] for part in shifts], sums['accumulated']
                )
        return results

    def _input_hooks(self) -> dict[nn.Module, Any]:
        def hook(layer: QuantMixin, name: str, quantizer: nn.Module, args: tuple) -> None:
            if not self._alone:
                self.inputs.update(name, layer, args[0])

        return {
            layer.input_quantizer: partial(hook, layer, name)
            for layer, name in self.layers.items()
            if isinstance(layer.input_quantizer, FakeQuantizer)
        }

    def _keep(self, layer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self._calls.append((args, kwargs))

    def _compare_alone(self, layer: QuantMixin, _: tuple, output: Any) -> None:
        name, (args, kwargs) = self.layers[layer], self._calls.pop()
        target = output_rows(layer, output)
        if target is None:
            return
        self._float.setdefault(name, []).append(target)
        self._sums[name]['cost'] += layer.weight.numel() * _positions(layer, output)
        centred = target - target.mean(1, keepdim=True)
        # Outputs that never change are measured by their size.
        power = centred.square().sum() + CONSTANT * target.square().sum()
        self._sums[name]['power'] += float(power)
        self._alone = True
        for kind, parts in PARTS.items():
            with switched_on(layer, parts):
                self._add(name, kind, output_rows(layer, layer.forward(*args, **kwargs)), target)
        self._alone = False

    def _compare(self, counts: dict[str, int], layer: QuantMixin, _: tuple, output: Any) -> None:
        name = self.layers[layer]
        targets, rows = self._float.get(name, []), output_rows(layer, output)
        if rows is None or counts[name] >= len(targets):
            return
        target = targets[counts[name]]
        counts[name] += 1
        if rows.shape == target.shape:  # else the network chose other rows
            self._add(name, 'accumulated', rows, target)
            shift = self._shifts[name]
            shift[0] += rows.shape[1]
            shift[1] = shift[1] + (rows - target).sum(1).cpu()

    def _add(self, name: str, kind: str, rows: Tensor, target: Tensor) -> None:
        self._sums[name][kind] += float((rows - target).square().sum())


def _share(parts: list[list[Any]], error: float) -> float:
    """Share of a squared error that is the mean of each channel."""
    parts = [part for part in parts if part[0]]
    if not parts or error <= 0:
        return 0.0
    count, total = sum(part[0] for part in parts), sum(part[1] for part in parts)
    return float(total.square().sum()) / count / error


def _positions(layer: QuantMixin, output: Any) -> int:
    """Positions of an output, each of which uses the whole weight once."""
    output = output.features if is_sparse(output) else output
    return channel_rows(layer, output).shape[1]


def output_rows(layer: QuantMixin, output: Any) -> Tensor | None:
    """Values (C, N) of an output at some positions; None where it is empty."""
    output = output.features if is_sparse(output) else output
    if not isinstance(output, Tensor) or output.numel() == 0:
        return None
    rows = channel_rows(layer, output)
    return rows[:, :: max(1, rows.numel() // NUM_VALUES)].double()


@contextmanager
def switched_on(layer: QuantMixin, parts: tuple[str, ...]) -> Iterator[None]:
    """Within this context these quantizers of a layer run, which are off outside of it."""
    slots = [getattr(layer, f'{part}_quantizer') for part in parts]
    slots = [slot for slot in slots if isinstance(slot, FakeQuantizer)]
    for slot in slots:
        slot.enabled = True
    try:
        yield
    finally:
        for slot in slots:
            slot.enabled = False
