"""Tracing a forward as a graph of calls."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.utils.eager_mode import EagerMode
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import flatten, tensors_in

from .call_graph import OUTSIDE, CallGraph, CallNode, Event
from .call_trace import CallCounter, is_plain, quantizer_parts


@torch.no_grad()
def trace_graph(
    model: nn.Module, run: Callable[[], Any], operators: bool = True
) -> tuple[CallGraph, dict[int, Any]]:
    """The calls of modules while ``run()`` runs.

    Operators are seen by torch's dispatcher. What a compiled extension computes is seen by the
    arguments and results of the innermost module around it.

    Args:
        model (nn.Module): The model.
        run (Callable): Runs it on a sample.
        operators (bool): Whether events are recorded; if not, only the calls. Defaults to True.

    Returns:
        tuple: The graph; the structure of ``flatten`` and the shapes and types of all tensors, by
        call, for the calls that can be replayed.
    """
    tracer = _Tracer()
    modules = set(model.modules()) - quantizer_parts(model)
    before = dict.fromkeys(modules, tracer.enter)
    with temporary_hooks(before, dict.fromkeys(modules, tracer.leave), with_kwargs=True):
        if operators:
            with tracer:
                run()
        else:
            run()
    return tracer.graph, tracer.shapes


class _Tracer(EagerMode):
    """Notes events and calls.

    Tensors are told apart by their memory, so that views are the tensor that they look at. Memory
    that is written gets a new value.
    """

    def __init__(self):
        super().__init__()
        self.graph = CallGraph()
        self.shapes: dict[int, Any] = {}
        self._counter = CallCounter()
        self._active: list[int] = []
        self._values: dict[Any, int] = {}
        self._count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = list(tensors_in((args, kwargs)))
        reads = self._read(inputs)
        written = {_memory(x) for x in _written(func, args, kwargs)}
        known = {_memory(x) for x in inputs} - written
        result = func(*args, **kwargs)
        made = {_memory(x) for x in tensors_in(result)} - known
        if made or written:
            self._add(reads, self._new_values(made | written))
        elif not any(True for _ in tensors_in(result)):
            self._add(reads, frozenset())
        return result

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        inputs = self._read(flatten((args, kwargs))[0])
        key, start = self._counter.next(module), len(self.graph.events)
        self._active.append(len(self.graph.calls))
        self.graph.calls.append(CallNode(key, tuple(self._active), start, inputs))

    def leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        index = self._active[-1]
        call = self.graph.calls[index]
        tensors, structure = flatten(output)
        is_leaf = index == len(self.graph.calls) - 1
        reads = self._read(tensors) | (call.inputs if is_leaf else frozenset())
        call.outputs = self._new_values(_memory(x) for x in tensors)
        if call.outputs:
            self._add(reads, call.outputs)
        call.end = len(self.graph.events)
        call.plain = bool(tensors) and is_plain(structure)
        if call.plain:
            sizes = tuple((tuple(x.shape), x.dtype, x.device) for x in tensors)
            self.shapes[index] = structure, sizes
        self._active.pop()

    def _add(self, reads: frozenset[int], writes: frozenset[int]) -> None:
        call = self._active[-1] if self._active else OUTSIDE
        self.graph.events.append(Event(reads, writes, call))

    def _read(self, tensors: Iterable[Tensor]) -> frozenset[int]:
        found = (self._values.get(_memory(x)) for x in tensors)
        return frozenset(value for value in found if value is not None)

    def _new_values(self, places: Iterable[Any]) -> frozenset[int]:
        """A new value in each of these places of memory."""
        places, first = list(dict.fromkeys(places)), self._count
        self._count += len(places)
        self._values.update(zip(places, range(first, self._count), strict=True))
        return frozenset(range(first, self._count))


def _memory(x: Tensor) -> Any:
    """What tells the memory of a tensor from that of others that exist at the same time."""
    try:
        return x.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return 'tensor', id(x)


def _written(func: Any, args: tuple, kwargs: dict) -> list[Tensor]:
    """The tensors that an operator writes to."""
    found = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            found += tensors_in(value)
    return found
