"""Tensors of a forward pass that come neither from the input of the model nor from a layer.

Position encodings, learned queries and reference points are such tensors: they are made of
parameters and of numbers in the code.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mmptq.utils.trees import tensors_in

from .parameter_owners import memory_of

aten = torch.ops.aten
# What these tensors hold is known, unless a compiled extension writes into them.
FILLED = {
    aten.zeros: 0,
    aten.zeros_like: 0,
    aten.new_zeros: 0,
    aten.ones: 1,
    aten.ones_like: 1,
    aten.new_ones: 1,
}
# Values that are given, or do not depend on those of the inputs.
GIVEN = {aten.lift_fresh, aten._shape_as_tensor}
# Memory without values, and random numbers.
UNKNOWN = {
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
    aten.rand,
    aten.rand_like,
    aten.randint,
    aten.randn,
    aten.randn_like,
    aten.randperm,
}
CHECKED = object()


class Constants:
    """Which tensors are constants, told from the operators that made them.

    Only what is known counts: a tensor that no operator of torch made is none.

    Args:
        model (nn.Module): Its parameters and buffers are constants.
    """

    def __init__(self, model: nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
        self.owned = {memory_of(x) for x in tensors} - {0}
        # A module that replaces its weight must not free memory that other tensors get then.
        self._kept = [x.detach() for x in tensors]
        self.known = WeakTensorKeyDictionary()  # tensor -> what fills it, or CHECKED

    def forget(self, data: Any) -> None:
        """Note tensors as values of the input or of a layer."""
        for x in tensors_in(data):
            self.known.pop(x, None)

    def are(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all of these are constants; False without any."""
        tensors = list(tensors)
        return bool(tensors) and all(map(self._is, tensors))

    def note(self, kind: Any, inputs: list[Tensor], result: Any) -> None:
        """Note what an operator made of its inputs."""
        value: Any = None
        if kind in FILLED:
            value = FILLED[kind]
        elif kind not in UNKNOWN and (kind in GIVEN or not inputs or self.are(inputs)):
            value = CHECKED
        for y in tensors_in(result):
            if value is None:
                self.known.pop(y, None)
            else:
                self.known[y] = self._fill(y, inputs) if value is CHECKED else value

    def _fill(self, y: Tensor, inputs: list[Tensor]) -> Any:
        """What fills a view, as far as known: an extension may still write into its memory."""
        fills = {memory_of(x): self.known.get(x, CHECKED) for x in inputs}
        return fills.get(memory_of(y), CHECKED)

    def _is(self, x: Tensor) -> bool:
        found = self.known.get(x)
        if found is None:
            return memory_of(x) in self.owned
        return found is CHECKED or bool(x.numel() and (x == found).all())
