"""Running samples up to one unit after the other, each from where the last one ended."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.replay.call_graph import CallGraph
from mmptq.ptq.replay.call_trace import CallId
from mmptq.ptq.replay.graph_trace import trace_graph
from mmptq.ptq.replay.override_calls import override_calls
from mmptq.utils.trees import unflatten

from .recorder import Call, record_calls
from .stream_plan import StreamPlan, plan_stream
from .unit import Unit


@dataclass
class TracedSamples:
    """What is known of the forward of all samples.

    Attributes:
        graph (CallGraph): Of the first sample.
        shapes (list[dict[int, Any] | None]): For each sample the structure and sizes of what
            calls return; None for a sample that makes other calls than the first one.
    """

    graph: CallGraph
    shapes: list[dict[int, Any] | None]

    @classmethod
    def trace(
        cls, model: nn.Module, run: Callable[[int], Any], num_samples: int
    ) -> 'TracedSamples':
        """Run every sample once; ``run`` takes the index of one."""
        graph, first = trace_graph(model, lambda: run(0))
        shapes: list[dict[int, Any] | None] = [first]
        for sample in range(1, num_samples):
            other, found = trace_graph(model, lambda sample=sample: run(sample), operators=False)
            # Equal sizes are kept once.
            found = {i: first[i] if first.get(i) == size else size for i, size in found.items()}
            shapes.append(found if graph.same_calls(other) else None)
        return cls(graph, shapes)


class Stream:
    """Samples on their way through the model, in the float or in the quantized one.

    The results of finished calls that later units need are kept for every sample, exactly, under
    a memory budget. The next unit is recorded from there: only what lies between runs.

    Args:
        traced (TracedSamples): The samples.
        run (Callable): Runs the model on a sample, given its index.
        budget_bytes (int): Memory for the results of calls.
        directory (str | Path): Folder of the files for results beyond the budget.
    """

    def __init__(
        self,
        traced: TracedSamples,
        run: Callable[[int], Any],
        budget_bytes: int,
        directory: str | Path,
    ):
        self.traced, self.budget_bytes, self.directory = traced, budget_bytes, directory
        self._run = run
        self._stored: dict[int, ActivationCache] = {}
        self._new: dict[int, ActivationCache] = {}
        self._plan, self._outputs = StreamPlan(), False
        self._keys: dict[CallId, int] = {}
        self._inside: dict[CallId, Any] = {}

    @property
    def used_bytes(self) -> int:
        """Memory that the results of calls take."""
        return sum(cache.used_bytes for cache in (*self._stored.values(), *self._new.values()))

    def close(self) -> None:
        """Forget everything that was kept."""
        for cache in (*self._stored.values(), *self._new.values()):
            cache.close()
        self._stored, self._new = {}, {}

    def prepare(self, unit: Unit, pending: Set[nn.Module], changes: bool, outputs: bool) -> None:
        """Plan the recording of a unit; see ``plan_stream`` for the arguments."""
        graph, self._outputs = self.traced.graph, outputs
        self._plan = plan = plan_stream(graph, unit, self._stored.keys(), pending, changes, outputs)
        self._keys = {graph.calls[i].key: i for i in plan.replayed | plan.idle}
        self._inside = {key: graph.inside(i) for key, i in self._keys.items()}
        share = max(1, self.budget_bytes - self.used_bytes) // max(1, len(plan.kept))
        self._discard_new()
        self._new = {i: ActivationCache(max(1, share), self.directory) for i in sorted(plan.kept)}

    def record(self, unit: Unit, sample: int) -> list[Call]:
        """The calls of the prepared unit on a sample; samples come in order."""

        def run() -> list[Call]:
            outputs = self._outputs
            return record_calls(unit.module, lambda: self._run(sample), unit.num_calls, outputs)

        if self.traced.shapes[sample] is None:
            for cache in self._new.values():
                cache.append(None)
            return run()
        kept = {self.traced.graph.calls[i].key: i for i in self._new}

        def keep(key: CallId, output: Any) -> None:
            if key in kept:
                self._new[kept[key]].append(output, exact=True)

        given = self._given(sample)
        with override_calls(self._keys.keys(), given, self._inside, kept.keys(), keep):
            return run()

    def finish(self) -> None:
        """All samples of the prepared unit are recorded."""
        for i in self._plan.dropped:
            self._stored.pop(i).close()
        self._stored.update(self._new)
        self._new = {}

    def cancel(self) -> None:
        """The prepared unit is recorded in another way; what was kept before stays."""
        self._discard_new()

    def _discard_new(self) -> None:
        for cache in self._new.values():
            cache.close()
        self._new = {}

    def _given(self, sample: int) -> Callable[[CallId, Any], Any]:
        """Gives what a call returns that does not run."""

        def given(key: CallId, args: Any) -> Any:
            i = self._keys[key]
            if i in self._plan.replayed:
                return self._stored[i][sample]
            return _blank(*self.traced.shapes[sample][i])

        return given


def _blank(structure: Any, sizes: tuple) -> Any:
    """A result that nobody reads; NaN makes an unexpected read visible."""
    tensors = [
        torch.full(shape, torch.nan if dtype.is_floating_point else 0, dtype=dtype, device=device)
        for shape, dtype, device in sizes
    ]
    return unflatten(structure, tensors)
