"""What a unit is reconstructed on: its inputs and float outputs on the calibration data."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.quantization import QuantizationError, mix, quantizers_off, random_mask
from mmptq.utils.trees import TensorSlot, flatten, unflatten

from .recorder import Call, record_calls
from .unit import Unit


class UnitRecorder:
    """Runs the calibration samples as far as a unit and records what it is to be trained on.

    Args:
        model (nn.Module): The detector.
        samples (ActivationCache): Batches as the model's forward takes them.
        run (Callable): Runs the model on one of them.
        keep_float (bool): Whether inputs in the float model are wanted.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: ActivationCache,
        run: Callable[[Any], Any],
        keep_float: bool,
    ):
        self.model = model
        self.samples = samples
        self.run = run
        self.keep_float = keep_float

    def record(self, unit: Unit, index: int) -> dict[str, Any]:
        """What a unit takes and gives on a sample, as lists with one element per call.

        Returns:
            dict: ``input`` (args, kwargs) behind the quantized units before it; ``float_input``
            the same in the float model, if that is wanted; ``target`` the output in the float
            model; ``sample`` the index.

        Raises:
            QuantizationError: If float and quantized inputs are of different shapes.
        """
        if not unit.name:
            return dict(sample=index, **self._whole_network(index))
        with quantizers_off(self.model):
            float_calls = self._calls(unit, index, True)
        calls = self._calls(unit, index, False)
        if _shapes(calls) != _shapes(float_calls):
            raise QuantizationError(
                f"'{unit.name}' gets inputs of other shapes in the quantized model than in the "
                'float one, so that they cannot be compared: leave it out with skip'
            )
        entry = dict(
            sample=index, input=_arguments(calls), target=[call.output for call in float_calls]
        )
        if self.keep_float:
            entry['float_input'] = _arguments(float_calls)
        return entry

    def _calls(self, unit: Unit, index: int, outputs: bool) -> list[Call]:
        data = self.samples[index]
        return record_calls(unit.module, lambda: self.run(data), unit.num_calls, outputs)

    @torch.no_grad()
    def _whole_network(self, index: int) -> dict[str, list]:
        data = self.samples[index]
        with quantizers_off(self.model):
            return dict(input=[((data,), {})], target=[self.run(data)])


def _arguments(calls: list[Call]) -> list[tuple[tuple, dict]]:
    return [(call.args, call.kwargs) for call in calls]


def _shapes(calls: list[Call]) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in flatten(_arguments(calls))[0]]


def join(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry that holds all samples as a batch, or the entries as they are.

    Only maps of the same size are joined (tensors of four or more axes, the first of them the
    batch): anything else may mean something different by its axes.
    """
    flat = [flatten({**entry, 'sample': None}) for entry in entries]
    tensors, structure = flat[0]
    for others, other_structure in flat[1:]:
        alike = len(tensors) == len(others) and _same(structure, other_structure)
        if not alike or any(
            x.dim() < 4 or x.shape[1:] != y.shape[1:] for x, y in zip(tensors, others, strict=True)
        ):
            return entries
    groups = zip(*(part for part, _ in flat), strict=True)
    return [unflatten(structure, [torch.cat(group) for group in groups])]


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, (TensorSlot, int, float, str, type(None))) and a == b


def mix_arguments(quantized: Any, original: Any, share: float) -> Any:
    """Arguments of which a share of the values, chosen at random, is that of the float model.

    Args:
        quantized (Any): Nested tensors.
        original (Any): The same of the float model.
        share (float): 0 gives ``quantized``, 1 gives ``original``.
    """
    first, structure = flatten(quantized)
    second, _ = flatten(original)
    return unflatten(
        structure, [_mix_tensor(x, y, share) for x, y in zip(first, second, strict=True)]
    )


def _mix_tensor(x: Tensor, y: Tensor, share: float) -> Tensor:
    if not x.is_floating_point() or share <= 0:
        return x
    return mix(x, y, random_mask(x, share))
