"""Where the inputs of layers come from: which layers, joined by which operators."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mmptq.utils.eager_mode import EagerMode
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import tensors_in

aten = torch.ops.aten
JOINS = {aten.cat: 'concatenation', aten.add: 'addition', aten.add_: 'addition'}


@dataclass(frozen=True)
class Join:
    """A concatenation or an addition.

    Attributes:
        kind (str): 'concatenation' or 'addition'.
        ranges (tuple[float]): Largest magnitude of each operand.
    """

    kind: str
    ranges: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Largest over smallest range of the operands that are not zero."""
        ranges = [value for value in self.ranges if value > 0]
        return max(ranges) / min(ranges) if ranges else 1.0


@dataclass
class InputOrigin:
    """Where the input of a layer comes from.

    Attributes:
        sources (set[str]): The nearest weighted layers before it; empty for an input of the model.
        joins (set[Join]): What lies between them and the layer.
    """

    sources: set[str] = field(default_factory=set)
    joins: set[Join] = field(default_factory=set)


class _Follower(EagerMode):
    def __init__(self):
        super().__init__()
        self.origins: dict[str, InputOrigin] = {}
        self.sources = WeakTensorKeyDictionary()
        self.joins = WeakTensorKeyDictionary()
        self.running = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kind = JOINS.get(func.overloadpacket) if not self.running else None
        join = _join(kind, args) if kind else None  # before an operator that works in place
        result = func(*args, **(kwargs or {}))
        if self.running:
            return result
        inputs = list(tensors_in((args, kwargs or {})))
        sources = set().union(*(self.sources.get(x, ()) for x in inputs))
        joins = set().union(*(self.joins.get(x, ()) for x in inputs))
        joins |= {join} if join is not None else set()
        for y in tensors_in(result):
            if y.is_floating_point():
                self.sources[y], self.joins[y] = sources, joins
        return result

    def enter(self, name: str, inputs: Any) -> None:
        self.running += 1
        if self.running > 1:
            return
        origin = self.origins.setdefault(name, InputOrigin())
        for x in tensors_in(inputs):
            origin.sources |= self.sources.get(x, set())
            origin.joins |= self.joins.get(x, set())

    def leave(self, name: str, output: Any) -> None:
        self.running -= 1
        if self.running == 0:
            for y in tensors_in(output):
                self.sources[y], self.joins[y] = {name}, set()


def _join(kind: str, args: tuple) -> Join | None:
    operands = args[0] if kind == 'concatenation' else args[:2]
    if len(operands) < 2 or not all(isinstance(x, Tensor) and x.numel() for x in operands):
        return None
    if not all(x.is_floating_point() and x.dim() > 1 for x in operands):
        return None
    if kind == 'addition' and operands[0].shape != operands[1].shape:
        return None  # of a bias or a position
    return Join(kind, tuple(float(x.abs().max()) for x in operands))


def trace_origins(layers: dict[str, nn.Module], run: Callable[[], Any]) -> dict[str, InputOrigin]:
    """Run the model once and find the origin of the input of every layer that runs.

    Args:
        layers (dict[str, nn.Module]): All weighted layers by name, quantized or not.
        run (Callable): Runs the model on one sample.
    """
    follower = _Follower()
    before = {
        m: lambda _, args, kwargs, n=n: follower.enter(n, (args, kwargs)) for n, m in layers.items()
    }
    after = {m: lambda _, args, output, n=n: follower.leave(n, output) for n, m in layers.items()}
    with temporary_hooks(before, after, with_kwargs=True), torch.no_grad(), follower:
        run()
    return follower.origins
