"""Ranges, deviations and tails of layer inputs."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmptq.ptq import parallel
from mmptq.quantization import QuantMixin
from mmptq.quantization.layers import channel_rows

# Values per call that are looked at for deviations and tails, and calls per layer.
NUM_VALUES = 2**14
NUM_CALLS = 32
# Share of values that a tail leaves out.
TAIL = 0.999


@dataclass
class _Layer:
    low: Tensor
    high: Tensor
    moments: Tensor  # number, sum and sum of squares (3, C)
    largest: list[Tensor] = field(default_factory=list)


class InputValues:
    """Collects what the channels of layer inputs hold, of several calls."""

    def __init__(self):
        self._layers: dict[str, _Layer] = {}

    def update(self, name: str, layer: QuantMixin, x: Tensor) -> None:
        """Take in one input.

        Args:
            name (str): Of the layer.
            layer (QuantMixin): Knows the axis of the channels.
            x (Tensor): The input; of a sparse tensor the features.
        """
        if x.numel() == 0 or x.dim() < 2:
            return
        rows = channel_rows(layer, x.detach()).float()
        low, high = rows.amin(1).cpu(), rows.amax(1).cpu()
        some = rows[:, :: max(1, rows.numel() // NUM_VALUES)].double().cpu()
        count = torch.full_like(low, some.shape[1], dtype=torch.float64)
        moments = torch.stack([count, some.sum(1), some.square().sum(1)])
        found = self._layers.get(name)
        if found is None:
            found = self._layers[name] = _Layer(low, high, torch.zeros_like(moments))
        found.low, found.high = torch.minimum(found.low, low), torch.maximum(found.high, high)
        found.moments += moments
        if len(found.largest) < NUM_CALLS:
            found.largest.append(some.abs().flatten().float())

    def results(self) -> dict[str, dict[str, Tensor | float]]:
        """``low``, ``high`` and ``deviation`` (C,) and ``tail`` of each layer, of all processes."""
        results = {}
        parts = parallel.gather({name: vars(found) for name, found in self._layers.items()})
        for name in dict.fromkeys(name for part in parts for name in part):
            found = [part[name] for part in parts if name in part]
            count, total, squares = sum(item['moments'] for item in found)
            values = torch.cat([x for item in found for x in item['largest']])
            low = torch.stack([item['low'] for item in found]).amin(0)
            high = torch.stack([item['high'] for item in found]).amax(0)
            results[name] = dict(
                low=low,
                high=high,
                deviation=(squares / count - (total / count).square()).clamp(min=0).sqrt(),
                tail=_tail(values, float(torch.maximum(-low, high).max())),
            )
        return results


def _tail(magnitudes: Tensor, largest: float) -> float:
    """Largest magnitude over that which nearly all non-zero values do not exceed."""
    values = magnitudes[magnitudes > 0]
    if not len(values):
        return 1.0
    rank = min(len(values), max(1, round(TAIL * len(values))))
    return max(1.0, largest / float(values.kthvalue(rank).values))
