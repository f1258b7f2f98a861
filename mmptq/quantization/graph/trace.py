"""Which weighted layers a model really runs, in what order, and what uses their outputs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.weak import WeakTensorKeyDictionary

from mmptq.utils.agree import agree
from mmptq.utils.eager_mode import EagerMode
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import tensors_in

from .constants import Constants
from .parameter_owners import memory_of, parameter_owners


@dataclass
class LayerTrace:
    """What one layer did while the model ran.

    Attributes:
        name (str): First name of the module.
        calls (int): How often it ran.
        is_first (bool): Whether a call took its input from no other traced layer.
        feeds_layer (bool): Whether an output reached another traced layer.
        norms (set[str]): BatchNorms that took its output directly.
        other_uses (int): Direct uses of its outputs by anything but a BatchNorm.
        coordinates (bool): Whether every call took an input that comes neither from the input of
            the model nor from a layer, see ``Constants``.
    """

    name: str
    calls: int = 0
    is_first: bool = False
    feeds_layer: bool = False
    norms: set[str] = field(default_factory=set)
    other_uses: int = 0
    coordinates: bool = True


@dataclass
class Trace:
    """The traced layers in order of their first call, and what fed each BatchNorm.

    Attributes:
        layers (dict[str, LayerTrace]): By module name, in order of execution.
        norm_inputs (dict[str, set[str | None]]): Layers whose output each BatchNorm took; None
            stands for a tensor that no traced layer made.
        samples (tuple[int]): Samples that showed something new.
        used_outside (set[str]): Layers and BatchNorms with parameters that other code reads or
            writes: ``F.linear(x, layer.weight)``, a hook that computes the weight.
        other_norms (set[str]): BatchNorms that did not do what their running statistics say: in
            train mode, a subclass with an activation, a hook that changes the output.
        vectorized (set[str]): Layers inside of ``torch.vmap``, where values cannot be looked at.
    """

    layers: dict[str, LayerTrace] = field(default_factory=dict)
    norm_inputs: dict[str, set[str | None]] = field(default_factory=dict)
    samples: tuple[int, ...] = (0,)
    used_outside: set[str] = field(default_factory=set)
    other_norms: set[str] = field(default_factory=set)
    vectorized: set[str] = field(default_factory=set)

    def ran(self, name: str) -> bool:
        """Whether a layer or BatchNorm was called."""
        return name in self.layers or name in self.norm_inputs


class _Tracer(EagerMode):
    """Follows tensors from layer to layer by the operators that run.

    Operators outside of torch's dispatcher (compiled extensions) are seen through the tensors
    that Python allocates for them (``x.new_zeros``) and through the hooks on layers.
    """

    def __init__(self, trace: Trace, owners: dict[int, set[str]], constants: Constants):
        super().__init__()
        self.trace = trace
        self.owners = owners  # of parameters, by their memory
        self.constants = constants
        self.maker = WeakTensorKeyDictionary()  # direct output of a layer -> its name
        self.sources = WeakTensorKeyDictionary()  # tensor -> layers it was computed from
        self.running: list[str] = []  # layers and norms being executed

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = list(tensors_in((args, kwargs or {})))
        # The backward pass of a gradient that a forward takes reads what the layers read before.
        for x in inputs if torch._C._current_graph_task_id() == -1 else ():
            owners = self.owners.get(memory_of(x))
            if owners is not None and owners.isdisjoint(self.running):
                self.trace.used_outside |= owners
        if self.running:
            return result
        self.constants.note(func.overloadpacket, inputs, result)
        sources = set().union(*(self.sources.get(x, ()) for x in inputs))
        for x in inputs:
            if x in self.maker:
                self.trace.layers[self.maker[x]].other_uses += 1
        for y in tensors_in(result):
            # Indices and masks choose among values (proposals, NMS): they carry no features.
            # The result of an in-place operation is its own input: sources accumulate.
            if y.is_floating_point() or y.is_complex():
                self.sources[y] = sources | self.sources.get(y, set())
        return result

    def enter_layer(self, name: str, inputs: Any) -> None:
        layer = self.trace.layers.setdefault(name, LayerTrace(name))
        layer.calls += 1
        inputs = list(tensors_in(inputs))
        if any(map(torch._C._functorch.is_batchedtensor, inputs)):
            self.trace.vectorized.add(name)
        if self.running:  # inside another layer, like the offset branch of a deformable one
            layer.feeds_layer, layer.coordinates = True, False
            return
        layer.coordinates &= self.constants.are(inputs)
        sources = set().union(*(self.sources.get(x, ()) for x in inputs))
        layer.is_first |= not sources
        for source in sources:
            self.trace.layers[source].feeds_layer = True
        for x in inputs:
            if x in self.maker:
                self.trace.layers[self.maker[x]].other_uses += 1

    def leave_layer(self, name: str, output: Any) -> None:
        self.constants.forget(output)
        for y in tensors_in(output):
            self.maker[y] = name
            self.sources[y] = {name}

    def enter_norm(self, name: str, inputs: Any) -> None:
        feeders = self.trace.norm_inputs.setdefault(name, set())
        for x in tensors_in(inputs):
            feeders.add(self.maker.get(x))
            if x in self.maker:
                self.trace.layers[self.maker[x]].norms.add(name)

    def check_norm(self, name: str, norm: _BatchNorm, inputs: Any, output: Any) -> None:
        """Compare the output with the formula that folding relies on."""
        x, y = next(tensors_in(inputs), None), output
        if norm.running_mean is None or x is None or not x.numel():
            return
        affine = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        expected = F.batch_norm(x, *affine, training=False, eps=norm.eps)
        if not (isinstance(y, Tensor) and y.shape == x.shape and agree(expected, y)):
            self.trace.other_norms.add(name)

    def finish(self, result: Any) -> None:
        """Count what the model returns as used."""
        for y in tensors_in(result):
            if y in self.maker:
                self.trace.layers[self.maker[y]].other_uses += 1

    def leave_norm(self, inputs: Any, output: Any) -> None:
        sources = set().union(*(self.sources.get(x, ()) for x in tensors_in(inputs)))
        for y in tensors_in(output):
            self.sources[y] = set(sources)


def trace_layers(model: nn.Module, layer_types: tuple[type, ...], run: Callable[[], Any]) -> Trace:
    """Run the model once and record what its weighted layers and BatchNorms did.

    Args:
        model (nn.Module): In eval mode.
        layer_types (tuple[type]): Layers to trace.
        run (Callable): Runs the model on one sample.

    Returns:
        Trace: The record. Layers inside another traced layer (the offset convolution of a
        deformable one) count as run, but the outer layer stands for their connections.
    """
    trace = Trace()
    before, after = {}, {}
    traced = (_BatchNorm, *layer_types)
    named = {name: m for name, m in model.named_modules() if isinstance(m, traced)}
    tracer = _Tracer(trace, parameter_owners(named), Constants(model))
    for name, module in named.items():
        make = _norm_hooks if isinstance(module, _BatchNorm) else _layer_hooks
        before[module], after[module] = make(tracer, name)
    if model not in before:
        before[model] = lambda _, args, kwargs: tracer.constants.forget((args, kwargs))
    with temporary_hooks(before, after, with_kwargs=True), torch.no_grad(), tracer:
        tracer.finish(run())
    return trace


def _layer_hooks(tracer: _Tracer, name: str) -> tuple[Callable, Callable]:
    def enter(_, args, kwargs):
        tracer.enter_layer(name, (args, kwargs))
        tracer.running.append(name)

    def leave(_, args, output):
        tracer.running.pop()
        if not tracer.running:
            tracer.leave_layer(name, output)

    return enter, leave


def _norm_hooks(tracer: _Tracer, name: str) -> tuple[Callable, Callable]:
    inputs = []

    def enter(_, args, kwargs):
        inputs.append((args, kwargs))
        tracer.enter_norm(name, inputs[-1])
        tracer.running.append(name)

    def leave(norm, args, output):
        tracer.check_norm(name, norm, inputs[-1], output)
        tracer.running.pop()
        tracer.leave_norm(inputs.pop(), output)

    return enter, leave
