"""For each layer input the way to find its range that suits the layer's output best."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.checks.layer_errors import output_rows, switched_on
from mmptq.ptq.stages.observing import merge_observers
from mmptq.quantization import FakeQuantizer, QuantMixin, quantizers_off
from mmptq.utils.hooks import temporary_hooks

from .tuning import Tuning

QParams = tuple[Tensor, Tensor]
METHODS = {
    'min-max': dict(type='MinMaxObserver'),
    'percentile': dict(type='PercentileObserver', percentile=99.9),
    'p = 4': dict(type='LpObserver', p=4.0),
}
# Another way is taken where it lowers the error of the layer's output below this share.
WORTHWHILE = 0.95
NUM_SAMPLES = 4
# Ranges that do harm together are tried in halves, and those in halves again.
SPLITS = 2


def choose_ranges(tuning: Tuning) -> None:
    """Try, for each layer input, the range method with the smallest error of the layer's output."""
    layers = {
        name: state.module
        for name, state in tuning.ctx.layers.items()
        if isinstance(state.module.input_quantizer, FakeQuantizer)
        and state.module.input_quantizer.scheme.channel_axis is None
    }
    if not layers:
        return
    _try_parts(tuning, layers, _better(tuning, layers), SPLITS)


def _try_parts(
    tuning: Tuning, layers: dict[str, QuantMixin], chosen: dict[str, QParams], splits: int
) -> None:
    """Try these ranges together; where that fails, each half of them, in the order of names.

    Errors of layers do not add up to that of the outputs: some of these ranges may do harm.
    """
    if tuning.good or not chosen or _attempt(tuning, layers, chosen) or not splits:
        return
    names = sorted(chosen)
    for part in (names[: len(names) // 2], names[len(names) // 2 :]):
        _try_parts(tuning, layers, {name: chosen[name] for name in part}, splits - 1)


def _better(tuning: Tuning, layers: dict[str, QuantMixin]) -> dict[str, QParams]:
    """The range with the smallest error of each layer's output, where it is worth a change."""
    candidates = _candidates(tuning, layers)
    errors = _errors(tuning, layers, candidates)
    chosen = {}
    for name, found in candidates.items():
        now, *others = errors[name]
        best = min(range(len(others)), key=others.__getitem__)
        if others[best] < WORTHWHILE * now:
            chosen[name] = found[1 + best]
    return chosen


def _attempt(tuning: Tuning, layers: dict[str, QuantMixin], chosen: dict[str, QParams]) -> bool:
    def change() -> list[str]:
        for name, qparams in chosen.items():
            layers[name].input_quantizer.set_qparams(*qparams)
        return list(chosen)

    kept = tuning.attempt('range by the error of the output', change)
    if kept:
        tuning.refresh()
    return kept


def _candidates(tuning: Tuning, layers: dict[str, QuantMixin]) -> dict[str, list[QParams]]:
    """The present range of each layer input, and that of each method."""
    observers = {
        name: [
            TASK_UTILS.build(dict(method, scheme=layer.input_quantizer.scheme))
            for method in METHODS.values()
        ]
        for name, layer in layers.items()
    }
    hooks = {layer.input_quantizer: _observe(observers[name]) for name, layer in layers.items()}
    with quantizers_off(tuning.ctx.model), temporary_hooks(before=hooks):
        for data in tuning.ctx.batches('ranges'):
            tuning.ctx.predict(data)
    merge_observers(observer for found in observers.values() for observer in found)
    return {
        name: [
            _present(layers[name].input_quantizer),
            *(observer.qparams() for observer in found),
        ]
        for name, found in observers.items()
        if all(observer.seen for observer in found)
    }


def _present(quantizer: FakeQuantizer) -> QParams:
    return quantizer.scale.clone(), quantizer.zero_point.clone()


def _observe(observers: list[Any]) -> Callable:
    def hook(module: nn.Module, args: tuple) -> None:
        for observer in observers:
            observer.update(args[0])

    return hook


@torch.no_grad()
def _errors(
    tuning: Tuning, layers: dict[str, QuantMixin], candidates: dict[str, list[QParams]]
) -> dict[str, list[float]]:
    """Squared error of the layer's output with each candidate, on float inputs."""
    names = {layers[name]: name for name in candidates}
    totals = {
        name: torch.zeros(len(found), dtype=torch.float64, device='cpu')
        for name, found in candidates.items()
    }
    calls: list[tuple] = []

    def keep(layer: QuantMixin, args: tuple, kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    def compare(layer: QuantMixin, _: tuple, output: Any) -> None:
        (args, kwargs), name = calls.pop(), names[layer]
        target = output_rows(layer, output)
        if target is None:
            return
        for index, qparams in enumerate(candidates[name]):
            layer.input_quantizer.set_qparams(*qparams)
            with switched_on(layer, ('input', 'weight')):
                rows = output_rows(layer, layer.forward(*args, **kwargs))
            totals[name][index] += float((rows - target).square().sum())
        layer.input_quantizer.set_qparams(*candidates[name][0])

    before = temporary_hooks(dict.fromkeys(names, keep), with_kwargs=True)
    after = temporary_hooks(after=dict.fromkeys(names, compare))
    with quantizers_off(tuning.ctx.model), before, after:
        for data in tuning.ctx.batches('range errors', NUM_SAMPLES):
            tuning.ctx.predict(data)
    parallel.sum_(*totals.values())
    return {name: total.tolist() for name, total in totals.items()}
