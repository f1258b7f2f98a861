"""Some volumes of the inputs of layers, recorded with what their errors weigh."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.teacher.gradients import Gradients
from mmptq.ptq.teacher.importance import Importance
from mmptq.ptq.teacher.volumes import channel_axis, rows_of
from mmptq.quantization import QuantMixin
from mmptq.utils.seeds import stream_seed
from mmptq.utils.sparse_rows import in_site_order
from mmptq.utils.trees import flatten


@dataclass
class Rows:
    """Volumes of the input of a layer.

    Attributes:
        x (Tensor): (N, C) values.
        weight (Tensor): (N, C) or (N, 1), how much each squared error counts.
        direction (Tensor, optional): (N, C); if given, the error of a volume is projected on it
            before it is squared. Defaults to None.
    """

    x: Tensor
    weight: Tensor
    direction: Tensor | None = None

    @classmethod
    def joined(cls, rows: list['Rows']) -> 'Rows':
        """All rows as one; weights of one column are repeated where others have more."""
        width = max(row.weight.shape[1] for row in rows)
        weights = [row.weight.expand(-1, width) for row in rows]
        directions = [row.direction for row in rows if row.direction is not None]
        return cls(
            torch.cat([row.x for row in rows]),
            torch.cat(weights),
            torch.cat(directions) if directions else None,
        )


class RecordedRows:
    """Records random volumes of the inputs of layers, those that count, under a memory budget.

    The volumes with the largest and the smallest value are always among them. The others are drawn
    evenly, and weigh as many volumes as they stand for, so that sums over the rows estimate sums
    over all volumes.

    Args:
        importance (Importance): Fitted to the gradients.
        gradients (Gradients): At the inputs of the layers.
        num_positions (int): Volumes per layer and sample, over all calls, at most.
        seed (int): Of the run.
        budget_bytes (int): Memory for what is recorded.
        directory (Path): Where the rest goes to.
    """

    def __init__(
        self,
        importance: Importance,
        gradients: Gradients,
        num_positions: int,
        seed: int,
        budget_bytes: int,
        directory: Path,
    ):
        self.importance, self.gradients = importance, gradients
        self.num_positions, self.seed = num_positions, seed
        self._cache = ActivationCache(budget_bytes, directory)
        self._places: dict[str, list[int]] = {}

    def __enter__(self) -> 'RecordedRows':
        return self

    def __exit__(self, *_) -> None:
        self._cache.close()

    def hooks(
        self, layers: Mapping[str, QuantMixin], sample: int, place: int
    ) -> dict[QuantMixin, Callable]:
        """Forward pre-hooks, with keyword arguments, that record the layers on a sample.

        Args:
            layers (Mapping[str, QuantMixin]): By name.
            sample (int): Index of the sample in this process.
            place (int): Index of the sample in all processes.
        """
        numbers = {name: index for index, name in enumerate(layers)}
        calls = dict.fromkeys(layers, 0)
        names = {layer: name for name, layer in layers.items()}

        def hook(layer: QuantMixin, args: tuple, kwargs: dict[str, Any]) -> None:
            name, tree = names[layer], (args, kwargs)
            call, calls[name] = calls[name], calls[name] + 1
            x = in_site_order(tree, flatten(tree)[0])[0].detach()
            generator = torch.Generator('cpu').manual_seed(
                stream_seed(self.seed, (place * len(numbers) + numbers[name]) * 16 + call % 16)
            )
            self._record(layer, name, (sample, call), x, generator)

        return dict.fromkeys(names, hook)

    def of(self, name: str) -> list[Rows]:
        """What was recorded of a layer, one entry per call with volumes that count."""
        return [Rows(**self._cache[place]) for place in self._places.get(name, [])]

    def _record(
        self,
        layer: QuantMixin,
        name: str,
        place: tuple[int, int],
        x: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Record the input x of a layer at a sample and call."""
        sample, call = place
        weight = self.importance.weights(name, sample, call, 'input')[0]
        if not isinstance(weight, Tensor):
            weight = x.new_full((), weight)
        weight = weight.expand([*weight.shape] if weight.dim() else _one_channel(x, layer))
        x, weight = rows_of(x, layer), rows_of(weight.to(x.device), layer)
        candidates = (weight > 0).any(1).nonzero()[:, 0]
        if not len(candidates):
            return
        number = max(1, self.num_positions // self.gradients.num_calls(name, sample, 'input'))
        chosen, factor = _choose(x[candidates], number, generator)
        chosen = candidates[chosen]
        row = dict(x=x[chosen], weight=weight[chosen] * factor[:, None])
        if self.importance.projects:
            gradient = self.gradients.of(name, sample, call, 'input')[0]
            if gradient is not None:
                row['direction'] = rows_of(gradient, layer)[chosen]
        multiplier = getattr(layer, 'input_multiplier', None)
        if multiplier is not None:
            row = _multiplied(row, multiplier)
        self._places.setdefault(name, []).append(len(self._cache))
        self._cache.append(row)


def _multiplied(row: dict[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
    """Rows of ``x * factors``, whose errors count as those of x do."""
    result = dict(x=row['x'] * factors, weight=row['weight'] / factors.square())
    if 'direction' in row:
        result |= dict(weight=row['weight'], direction=row['direction'] / factors)
    return result


def _one_channel(x: Tensor, layer: QuantMixin) -> list[int]:
    shape = list(x.shape)
    shape[channel_axis(x, layer)] = 1
    return shape


def _choose(x: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (n,) of some rows of (N, C), and the number of rows that each stands for."""
    if len(x) <= number:
        return torch.arange(len(x), device=x.device), x.new_ones(len(x))
    ends = torch.stack((x.amax(1).argmax(), x.amin(1).argmin())).unique().cpu()
    order = torch.randperm(len(x), generator=generator, device='cpu')
    drawn = order[~torch.isin(order, ends)][: max(1, number - len(ends))]
    factor = torch.ones(len(ends) + len(drawn), device='cpu')
    factor[len(ends) :] = (len(x) - len(ends)) / len(drawn)
    return torch.cat((ends, drawn)).to(x.device), factor.to(x.device, x.dtype)
