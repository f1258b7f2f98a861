"""What each layer takes: number of weights, multiplications, size of its inputs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmptq.quantization import QScheme
from mmptq.quantization.layers import QuantMixin
from mmptq.quantization.packing import packed_size
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import is_sparse

FLOAT_BITS = 32


@dataclass
class LayerCost:
    """What a layer computes on one sample.

    Attributes:
        weights (int): Number of its weights.
        macs (float): Multiplications with weights; of a sparse convolution those of a kernel whose
            positions are all occupied.
        inputs (float): Number of values that it reads.
        sources (set[int]): The tensors that it reads, if asked for; layers with a common one share
            its scale.
    """

    weights: int
    macs: float = 0.0
    inputs: float = 0.0
    sources: set[int] = field(default_factory=set)


@torch.no_grad()
def measure_costs(
    layers: dict[str, nn.Module], run: Any, with_sources: bool
) -> dict[str, LayerCost]:
    """Costs of quantized layers, counted while ``run()`` runs one sample.

    Args:
        layers (dict[str, nn.Module]): Layers by name.
        run (Callable): Runs the model on one sample.
        with_sources (bool): Whether inputs are told apart; they stay in memory meanwhile.
    """
    costs = {name: LayerCost(layer.weight.numel()) for name, layer in layers.items()}
    names = {layer: name for name, layer in layers.items()}
    held = []  # so that no memory is used twice, and tensors can be told apart by it

    def note(layer: nn.Module, args: tuple, output: Any) -> None:
        if not args:  # called by keyword
            return
        x, y = (item.features if is_sparse(item) else item for item in (args[0], output))
        cost = costs[names[layer]]
        if with_sources:
            held.append(x)
            cost.sources.add(x.untyped_storage().data_ptr())
        cost.inputs += x.numel()
        cost.macs += _positions(layer, x, y) * layer.weight.numel()

    with temporary_hooks(after=dict.fromkeys(names, note)):
        run()
    return costs


def _positions(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """How often each weight is used."""
    if getattr(layer, 'transposed', False):
        return x.numel() / layer.num_input_channels
    channels = getattr(layer, 'out_channels', None) or getattr(layer, 'out_features', 1)
    return y.numel() / channels


def weight_bytes(layer: QuantMixin, scheme: QScheme | None) -> int:
    """Bytes of the weight in a quantized checkpoint, with its scales and zero points."""
    count = layer.weight.numel()
    if scheme is None:
        return 4 * count
    scales = 1 if scheme.channel_axis is None else layer.weight.shape[layer.weight_axis]
    return packed_size(count, scheme.bits) + scales * (4 + (1 if scheme.bits <= 8 else 4))


def input_bytes(layer: QuantMixin, scheme: QScheme | None) -> int:
    """Bytes of the scales and zero points of the input in a quantized checkpoint."""
    if scheme is None:
        return 0
    scales = 1 if scheme.channel_axis is None else layer.num_input_channels
    return scales * (4 + (1 if scheme.bits <= 8 else 4))


def connected(items: Iterable[tuple[str, frozenset]]) -> list[list[str]]:
    """Names in groups: those that have something in common, directly or by others.

    Args:
        items (Iterable[tuple[str, frozenset]]): Names, and what each has.
    """
    groups: list[tuple[list[str], set]] = []
    for name, keys in items:
        joined, common, rest = [], set(keys), []
        for names, known in groups:
            if known.isdisjoint(keys):
                rest.append((names, known))
            else:
                joined += names
                common |= known
        # In the place of the first one that it joins.
        place = min((groups.index(g) for g in groups if g not in rest), default=len(rest))
        rest.insert(min(place, len(rest)), ([*joined, name], common))
        groups = rest
    return [names for names, _ in groups]


def bits_of(scheme: QScheme | None) -> int:
    """Width of a tensor."""
    return FLOAT_BITS if scheme is None else scheme.bits
