"""Finding units that run on rows which the data chooses: proposals, top-k queries, points."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.replay.call_trace import disturbed, fingerprint
from mmptq.quantization import QuantMixin, quantizers_off
from mmptq.utils.eager_mode import EagerMode
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import tensors_in

from .unit import Unit

aten = torch.ops.aten
# Operators that take rows by indices or masks, or as many rows as a number says.
TAKES = {
    aten.index,
    aten._unsafe_index,
    aten.index_select,
    aten.gather,
    aten.masked_select,
    aten.take,
    aten.embedding,
}
CUTS = {aten.select, aten.slice, aten.narrow, aten.split, aten.split_with_sizes}
# Operators that put rows back where others were taken from.
PUTS = {
    aten.index_put,
    aten.index_put_,
    aten._index_put_impl_,
    aten.index_add,
    aten.index_add_,
    aten.index_copy,
    aten.index_copy_,
    aten.scatter,
    aten.scatter_,
    aten.masked_scatter,
    aten.masked_scatter_,
}
# A saturated score may hide a small or a large change.
NOISE_LEVELS = (0.1, 1.0)


class _Choices(EagerMode):
    """Notes which rows have been taken so far, and not been put back to where they were."""

    def __init__(self):
        super().__init__()
        self.state = 0  # sum of hashes: the same for two runs that work on the same rows
        self.open: dict[tuple, list[int]] = {}
        self.kept: list[Tensor] = []  # alive, so that no other tensor gets their memory

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kind = func.overloadpacket
        if kind in TAKES or kind in PUTS:
            for index in _indices((args, kwargs or {})):
                self._take(index) if kind in TAKES else self._put(index)
        elif kind in CUTS:
            self.state += hash((str(kind), str(args[1:])))
        return func(*args, **(kwargs or {}))

    def note(self, index: Tensor) -> int:
        """Rows that are chosen from here on; returns their hash."""
        value = hash(str(fingerprint(index)))
        self.state += value
        return value

    def _take(self, index: Tensor) -> None:
        self.open.setdefault(_place(index), []).append(self.note(index))
        self.kept.append(index)

    def _put(self, index: Tensor) -> None:
        self.state -= sum(self.open.pop(_place(index), ()))


def _place(index: Tensor) -> tuple:
    return index.data_ptr(), tuple(index.shape), index.dtype


def _indices(data: Any) -> Iterable[Tensor]:
    return [x for x in tensors_in(data) if not x.is_floating_point()]


def chosen_rows(model: nn.Module, run: Callable[[], Any], units: list[Unit]) -> list[str]:
    """Units whose rows differ between two runs of the float model as soon as values differ.

    A quantized model chooses other proposals, or the same in another order: row by row they cannot
    be compared. One run is compared with runs in which noise is added to the output of every
    layer; this needs no knowledge of the network. Choices are seen where torch takes rows by
    indices, masks or numbers, and where a module returns indices. Rows that are put back to where
    they were taken from (RoI features of several levels) are none.

    Args:
        model (nn.Module): Quantized.
        run (Callable): Runs it on one sample.
        units (list[Unit]): The units.

    Returns:
        list[str]: Names of the units, in order.
    """
    with quantizers_off(model):
        expected, _ = _watch(model, run, units, None)
        found: set[str] = set()
        for level in NOISE_LEVELS:
            states, complete = _watch(model, run, units, level)
            for name, calls in expected.items():
                other = states.get(name, [])
                if not complete:
                    calls = calls[: len(other)]
                if calls != other:
                    found.add(name)
    return [unit.name for unit in units if unit.name in found]


@torch.no_grad()
def _watch(
    model: nn.Module, run: Callable[[], Any], units: list[Unit], level: float | None
) -> tuple[dict[str, list[Any]], bool]:
    """Rows and sizes at every call of every unit; whether the run came to its end."""
    choices, states = _Choices(), {}
    names = {unit.module: unit.name for unit in units if unit.name}

    def enter(module, args, kwargs):
        if module in names:
            sizes = [tuple(x.shape) for x in tensors_in((args, kwargs))]
            states.setdefault(names[module], []).append((choices.state, sizes))

    def leave(module, args, output):
        if isinstance(module, QuantMixin):
            return None if level is None else disturbed(output, level)
        for index in _indices(output):
            choices.note(index)
        return None

    modules = list(model.modules())
    before, after = dict.fromkeys(modules, enter), dict.fromkeys(modules, leave)
    with temporary_hooks(before, after, with_kwargs=True):
        if level is None:
            with choices:
                run()
            return states, True
        with suppress(Exception), choices:  # noise may leave nothing that the model can run on
            run()
            return states, True
    return states, False
