"""Training data of a unit: its inputs and float outputs on the calibration samples."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.teacher.importance import Importance
from mmptq.ptq.units.unit import Unit
from mmptq.quantization import mix, random_mask
from mmptq.utils.sparse_rows import from_site_order
from mmptq.utils.trees import TensorSlot, flatten, unflatten


class UnitEntries:
    """Training data of a unit, one entry per sample, with the weights of its errors.

    Args:
        unit (Unit): The unit.
        samples (ActivationCache): Batches as the model's forward takes them.
        cache (ActivationCache): Results of ``UnitRecorder.record``, one per sample.
        importance (Importance, optional): Gives the weights, fitted. Defaults to None.
        found (Collection[int]): Samples that it has weights for.
    """

    def __init__(
        self,
        unit: Unit,
        samples: ActivationCache,
        cache: ActivationCache,
        importance: Importance | None = None,
        found: Collection[int] = (),
    ):
        self.unit, self.samples, self.cache = unit, samples, cache
        self.importance, self.found = importance, found

    def __len__(self) -> int:
        return len(self.cache)

    def with_input(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A recorded entry with its inputs; the whole network reads the samples."""
        if self.unit.name:
            return entry
        return dict(entry, input=[((self.samples[entry['sample']],), {})])

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = self.with_input(self.cache[index])
        if self.importance is not None:
            calls = enumerate(entry['target'])
            entry['importance'] = [self._weights(entry['sample'], *call) for call in calls]
        return entry

    def _weights(self, sample: int, call: int, target: Any) -> list[Tensor]:
        """One weight per tensor of a call."""
        targets = flatten(target)[0]
        weights: list[Tensor | float] = [1.0] * len(targets)
        if sample in self.found:
            weights = self.importance.weights(self.unit.name, sample, call)
            weights = from_site_order(target, weights)
        return [
            w if isinstance(w, Tensor) else torch.full_like(x, w)
            for w, x in zip(weights, targets, strict=True)
        ]


def join(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry that holds all samples as a batch, or the entries as they are.

    Only maps of the same size are joined: tensors with four or more axes, the batch first. Axes
    of other tensors may have another meaning.
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
    """Quantized arguments with a random share of the values replaced by those of the float model.

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
