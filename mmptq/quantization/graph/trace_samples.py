"""Tracing samples until every layer of a model ran."""

import heapq
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.stop_forward import StopForward

from .trace import LayerTrace, Trace, trace_layers


def trace_samples(
    model: nn.Module, layer_types: tuple[type, ...], runs: Iterable[Callable[[], Any]]
) -> Trace:
    """Trace one sample, and further ones only while some layer or BatchNorm has not run yet.

    Which sample comes first does not matter: an image without proposals shows only a part of a
    two-stage detector.

    Args:
        model (nn.Module): In eval mode.
        layer_types (tuple[type]): Layers to trace.
        runs (Iterable[Callable]): Each runs the model on one sample; taken one by one.

    Returns:
        Trace: What all samples show together; ``samples`` are those that showed something new.
    """
    traces: dict[int, Trace] = {}
    types = (_BatchNorm, *layer_types)
    missing = {name: m for name, m in model.named_modules() if isinstance(m, types)}
    for index, run in enumerate(runs):
        if index and not _any_runs(list(missing.values()), run):
            continue
        traces[index] = trace_layers(model, layer_types, run)
        missing = {name: m for name, m in missing.items() if not traces[index].ran(name)}
        if not missing:
            break
    merged = merge_traces(list(traces.values()), [name for name, _ in model.named_modules()])
    merged.samples = tuple(traces)
    return merged


@torch.no_grad()
def _any_runs(modules: list[nn.Module], run: Callable[[], Any]) -> bool:
    ran = []

    def enter(module, args):
        ran.append(module)
        raise StopForward

    with suppress(StopForward), temporary_hooks(dict.fromkeys(modules, enter)):
        run()
    return bool(ran)


def merge_traces(traces: list[Trace], names: list[str]) -> Trace:
    """What several samples showed, in an order that does not depend on theirs.

    Args:
        traces (list[Trace]): One per sample.
        names (list[str]): Names of all modules; decide between layers that no sample orders.
    """
    if len(traces) == 1:
        return traces[0]
    merged = Trace()
    for name in _order([list(trace.layers) for trace in traces], names):
        merged.layers[name] = _merge_layers(
            [trace.layers[name] for trace in traces if name in trace.layers]
        )
    for trace in traces:
        for name, feeders in trace.norm_inputs.items():
            merged.norm_inputs.setdefault(name, set()).update(feeders)
        merged.used_outside |= trace.used_outside
        merged.other_norms |= trace.other_norms
        merged.vectorized |= trace.vectorized
    merged.norm_inputs = {n: merged.norm_inputs[n] for n in names if n in merged.norm_inputs}
    return merged


def _merge_layers(records: list[LayerTrace]) -> LayerTrace:
    return LayerTrace(
        records[0].name,
        max(record.calls for record in records),
        any(record.is_first for record in records),
        any(record.feeds_layer for record in records),
        set().union(*(record.norms for record in records)),
        max(record.other_uses for record in records),
        all(record.coordinates for record in records),
    )


def _order(orders: list[list[str]], names: list[str]) -> list[str]:
    """One order that keeps to all of these where they agree."""
    position = {name: index for index, name in enumerate(names)}
    after: dict[str, set[str]] = {name: set() for order in orders for name in order}
    for order in orders:
        for first, second in zip(order, order[1:], strict=False):
            after[first].add(second)
    before = dict.fromkeys(after, 0)
    for followers in after.values():
        for name in followers:
            before[name] += 1
    ready = [(position[name], name) for name, count in before.items() if count == 0]
    heapq.heapify(ready)
    waiting, result = {name for name, count in before.items() if count}, []
    while ready or waiting:
        if not ready:  # samples that contradict each other
            name = min(waiting, key=position.__getitem__)
            waiting.remove(name)
            ready.append((position[name], name))
        name = heapq.heappop(ready)[1]
        result.append(name)
        for other in after[name] & waiting:
            before[other] -= 1
            if before[other] <= 0:
                waiting.remove(other)
                heapq.heappush(ready, (position[other], other))
    return result
