"""Which layers share their channels, so that scaling a channel in all of them changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mmptq.utils.eager_mode import EagerMode
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import tensors_in

aten = torch.ops.aten
# f(s * x) = s * f(x) for each channel and s > 0, and a channel depends on itself only.
HOMOGENEOUS = {
    aten.relu,
    aten.relu_,
    aten.leaky_relu,
    aten.leaky_relu_,
    aten.max_pool2d_with_indices,
    aten.avg_pool2d,
    aten._adaptive_avg_pool2d,
    aten.upsample_nearest2d,
    aten.upsample_bilinear2d,
    aten.clone,
    aten.detach,
    aten.alias,
}
ADDITIONS = {aten.add, aten.add_, aten.sub, aten.sub_}


@dataclass
class ChannelGroup:
    """Layers that write and read the same channels.

    Attributes:
        producers (list[str]): Layers whose output channels they are.
        consumers (list[str]): Layers whose input channels they are.
        depthwise (list[str]): Depthwise layers, which hand each channel on.
    """

    producers: list[str] = field(default_factory=list)
    consumers: list[str] = field(default_factory=list)
    depthwise: list[str] = field(default_factory=list)


class _Spaces:
    """Sets of tensors and layer sides with the same channels (union-find)."""

    def __init__(self):
        self.parent: dict[Any, Any] = {}
        self.fixed: set[Any] = set()

    def find(self, key: Any) -> Any:
        self.parent.setdefault(key, key)
        while self.parent[key] != key:
            key = self.parent[key]
        return key

    def join(self, a: Any, b: Any) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parent[b] = a
            if b in self.fixed:
                self.fixed.add(a)

    def fix(self, key: Any) -> None:
        self.fixed.add(self.find(key))


class _Follower(EagerMode):
    """Follows channels from layer to layer by the operators that run."""

    def __init__(self):
        super().__init__()
        self.spaces = _Spaces()
        self.space_of = WeakTensorKeyDictionary()
        self.running = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if self.running:
            return result
        inputs = [x for x in tensors_in((args, kwargs or {})) if x.dim()]
        known = [self.space_of[x] for x in inputs if x in self.space_of]
        if not known:
            return result
        kind = func.overloadpacket
        same = kind in HOMOGENEOUS or (
            kind in ADDITIONS
            and len(known) == len(inputs) == 2
            and inputs[0].shape == inputs[1].shape
        )
        for space in known:
            if same:
                self.spaces.join(known[0], space)
            else:
                self.spaces.fix(space)
        if same:
            first = next(tensors_in(result))
            self.space_of[first] = known[0]
        return result

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.running += 1
        inputs = list(tensors_in((args, kwargs)))
        plain = self.running == 1 and len(inputs) == 1 and reads_channels(module, inputs[0])
        for x in inputs:
            space = self.space_of.get(x)
            if space is not None and plain:
                self.spaces.join((name, 'in'), space)
            elif space is not None:
                self.spaces.fix(space)
            if plain and space is None:
                self.spaces.fix((name, 'in'))

    def leave(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self.running -= 1
        if self.running == 0 and isinstance(output, Tensor) and writes_channels(module):
            self.spaces.find((name, 'out'))
            if is_depthwise(module):
                self.spaces.join((name, 'in'), (name, 'out'))
            self.space_of[output] = (name, 'out')


def is_depthwise(module: nn.Module) -> bool:
    """Whether each channel of a convolution has one filter of its own."""
    groups = getattr(module, 'groups', 1)
    return groups > 1 and groups == module.in_channels == module.out_channels


def writes_channels(module: nn.Module) -> bool:
    """Whether output channels are rows of the weight that can be scaled one by one."""
    dense = getattr(module, 'groups', 1) == 1 or is_depthwise(module)
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and dense


def reads_channels(module: nn.Module, x: Tensor) -> bool:
    """Whether input channels are columns of the weight that can be scaled one by one."""
    return writes_channels(module) and (x.dim() == 4 or isinstance(module, nn.Linear))


def find_channel_groups(layers: dict[str, nn.Module], run: Callable[[], Any]) -> list[ChannelGroup]:
    """Run the model once and group the layers by the channels they share.

    Operators outside of torch's dispatcher (compiled extensions) are not seen: a caller has to
    check that a group may be scaled.

    Args:
        layers (dict[str, nn.Module]): Weighted layers by name, BatchNorms folded.
        run (Callable): Runs the model on one sample.

    Returns:
        list[ChannelGroup]: In order of execution; those with both producers and consumers.
    """
    follower = _Follower()
    before = {module: partial(follower.enter, name) for name, module in layers.items()}
    after = {module: partial(follower.leave, name) for name, module in layers.items()}
    with temporary_hooks(before, after, with_kwargs=True), torch.no_grad(), follower:
        run()
    return _collect(follower.spaces, layers)


def _collect(spaces: _Spaces, layers: dict[str, nn.Module]) -> list[ChannelGroup]:
    groups: dict[Any, ChannelGroup] = {}
    for key in list(spaces.parent):
        root = spaces.find(key)
        if root in spaces.fixed:
            continue
        group = groups.setdefault(root, ChannelGroup())
        name, side = key
        if not is_depthwise(layers[name]):
            (group.producers if side == 'out' else group.consumers).append(name)
        elif side == 'in':
            group.depthwise.append(name)
    return [group for group in groups.values() if group.producers and group.consumers]
