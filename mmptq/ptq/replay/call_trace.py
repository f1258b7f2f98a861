"""Tracing calls of modules, and finding those that a change in one layer affects."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.quantization import QuantMixin, product_quantizers
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import SparseSlot, TensorSlot, flatten, is_sparse, map_tensors

CallId = tuple[nn.Module, int]  # a module and which of its calls in one forward

# Noise of two sizes, because a saturated gate may hide a small or a large change.
NOISE_LEVELS = (0.01, 1.0)
# Tensors are hashed in chunks of this length, and the chunks are joined with this factor.
CHUNK = 2**18
MULTIPLIER = 0x9E3779B97F4A7C15
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class TracedCall:
    """One call of a module.

    Attributes:
        parents (tuple[CallId]): The calls around it, outermost first.
        fingerprint (Any): Hash of all bits of the output; None if the output cannot be replayed
            or the call did not return.
    """

    parents: tuple[CallId, ...]
    fingerprint: Any = None


class CallCounter:
    """Numbers the calls of each module during one forward."""

    def __init__(self):
        self.counts: dict[nn.Module, int] = {}

    def next(self, module: nn.Module) -> CallId:
        """Id of a call that begins."""
        index = self.counts.get(module, 0)
        self.counts[module] = index + 1
        return module, index

    def skip(self, calls: dict[nn.Module, int]) -> None:
        """Count calls that are skipped because a module around them is replayed."""
        for module, number in calls.items():
            self.counts[module] = self.counts.get(module, 0) + number


@torch.no_grad()
def trace_calls(model: nn.Module, run: Callable[[], Any]) -> tuple[dict[CallId, TracedCall], Any]:
    """All calls of modules while ``run()`` runs, and what it returns.

    The quantizers of layers count as parts of them, not as modules.
    """
    counter, calls, active = CallCounter(), {}, []

    def enter(module, args):
        key = counter.next(module)
        calls[key] = TracedCall(tuple(active))
        active.append(key)

    def leave(module, args, output):
        calls[active.pop()].fingerprint = fingerprint(output)

    modules = set(model.modules()) - quantizer_parts(model)
    with temporary_hooks(dict.fromkeys(modules, enter), dict.fromkeys(modules, leave)):
        return calls, run()


def unaffected_calls(
    model: nn.Module, run: Callable[[], Any], layer: nn.Module, calls: dict[CallId, TracedCall]
) -> set[CallId]:
    """The calls with outputs that do not depend on the output of ``layer``.

    Noise is added to the output of the layer: a call whose output stays the same bit by bit is
    unaffected. This needs no knowledge of the network. Calls inside of the layer are left out,
    because they change with it.
    """
    unaffected = {
        key
        for key, call in calls.items()
        if call.fingerprint is not None and all(module is not layer for module, _ in call.parents)
    }
    for level in NOISE_LEVELS:
        noise = {layer: lambda _, args, y, level=level: disturbed(y, level)}
        with temporary_hooks(after=noise):
            changed, _ = trace_calls(model, run)
        unaffected = {
            key
            for key in unaffected
            if key in changed and changed[key].fingerprint == calls[key].fingerprint
        }
    return unaffected


def quantizer_parts(model: nn.Module) -> set[nn.Module]:
    """The quantizers of all layers and products with everything inside of them."""
    layers = [module for module in model.modules() if isinstance(module, QuantMixin)]
    slots = [slot for layer in layers for slot in (layer.weight_quantizer, layer.input_quantizer)]
    slots += product_quantizers(model).values()
    return {part for slot in slots for part in slot.modules()}


def disturbed(output: Any, level: float) -> Any:
    """An output with noise of this size, relative to its values; the same in every run."""
    generator = torch.Generator('cpu').manual_seed(0)

    def add_noise(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        noise = torch.randn(x.shape, generator=generator, device='cpu').to(x)
        return x + level * (x.abs().mean() + 1) * noise

    if is_sparse(output):
        return output.replace_feature(add_noise(output.features))
    return map_tensors(add_noise, output)


def fingerprint(output: Any) -> Any:
    """A value that tells outputs apart bit by bit; None unless they are nested plain tensors."""
    tensors, structure = flatten(output)
    if not tensors or not is_plain(structure):
        return None
    return structure, [_bits(tensor) for tensor in tensors]


def _bits(x: Tensor) -> tuple[tuple[int, ...], int]:
    """Shape and a hash of all bits; a permutation of the values changes it."""
    rows = x.detach().reshape(-1)
    if rows.dtype != torch.bool:
        rows = rows.view(INTEGERS[rows.element_size()])
    total = 0
    for chunk in rows.split(CHUNK):
        weighted = chunk.to(torch.int64) * _position_weights(rows.device)[: len(chunk)]
        total = (total * MULTIPLIER + int(weighted.sum())) % 2**64
    return tuple(x.shape), total


@lru_cache(maxsize=4)
def _position_weights(device: torch.device) -> Tensor:
    """(CHUNK,) random odd numbers: products with them wrap around, and lose no bit."""
    generator = torch.Generator('cpu').manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (CHUNK,), generator=generator, device='cpu')
    return (2 * weights + 1).to(device)


def is_plain(structure: Any) -> bool:
    """Whether a structure of ``flatten`` holds nothing but tensors and plain values."""
    if isinstance(structure, dict):
        return all(map(is_plain, structure.values()))
    if isinstance(structure, (list, tuple)):
        return all(map(is_plain, structure))
    known = (TensorSlot, SparseSlot, str, int, float, bool, type(None))
    return isinstance(structure, known)
