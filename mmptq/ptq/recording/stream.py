"""Running samples up to one unit after the other, each from where the last one ended."""

from collections.abc import Callable, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.replay.call_graph import CallGraph
from mmptq.ptq.replay.call_trace import CallId
from mmptq.ptq.replay.graph_trace import trace_graph
from mmptq.ptq.replay.override_calls import override_calls
from mmptq.ptq.units.unit import Unit
from mmptq.utils.trees import unflatten

from .recorder import Call, record_calls
from .stream_plan import StreamPlan, plan_rest, plan_stream


@dataclass
class TracedSamples:
    """What is known of the forward of all samples.

    Attributes:
        graph (CallGraph): Of the reference.
        reference (int): A sample that makes the calls that most samples make.
        shapes (list[dict[int, Any] | None]): For each sample the structure and sizes of what
            calls return; None for a sample that makes other calls than the reference.
    """

    graph: CallGraph
    reference: int
    shapes: list[dict[int, Any] | None]

    @classmethod
    def trace(
        cls, model: nn.Module, run: Callable[[int], Any], num_samples: int
    ) -> 'TracedSamples':
        """Run every sample once; ``run`` takes the index of one."""
        found: list[tuple[CallGraph, list[int]]] = []
        shapes: list[dict[int, Any] | None] = []
        for sample in range(num_samples):
            graph, sizes = trace_graph(model, lambda i=sample: run(i), operators=False)
            alike = next((group for group in found if group[0].same_calls(graph)), None)
            if alike is None:
                found.append((graph, [sample]))
            else:  # equal sizes are kept once
                first = shapes[alike[1][0]]
                sizes = {i: first[i] if first[i] == size else size for i, size in sizes.items()}
                alike[1].append(sample)
            shapes.append(sizes)
        members = max((group[1] for group in found), key=len)
        shapes = [sizes if i in set(members) else None for i, sizes in enumerate(shapes)]
        graph, _ = trace_graph(model, lambda: run(members[0]))
        return cls(graph, members[0], shapes)


@dataclass
class _Results:
    """What one call returned.

    Attributes:
        cache (ActivationCache): The results.
        places (dict[int, int]): Place in the cache, by sample.
    """

    cache: ActivationCache
    places: dict[int, int] = field(default_factory=dict)

    def append(self, sample: int, result: Any) -> None:
        self.places[sample] = len(self.cache)
        self.cache.append(result, exact=True)

    def __getitem__(self, sample: int) -> Any:
        return self.cache[self.places[sample]]


@dataclass
class _Given:
    """Calls that do not run in a forward.

    Attributes:
        keys (dict[CallId, int]): Their places in the graph.
        inside (dict[CallId, Any]): How often modules would have run inside of each.
        replayed (set[int]): Those with recorded results; nobody reads those of the others.
    """

    keys: dict[CallId, int] = field(default_factory=dict)
    inside: dict[CallId, Any] = field(default_factory=dict)
    replayed: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, graph: CallGraph, plan: StreamPlan) -> '_Given':
        keys = {graph.calls[i].key: i for i in plan.replayed | plan.idle}
        return cls(keys, {key: graph.inside(i) for key, i in keys.items()}, plan.replayed)


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
        self._stored: dict[int, _Results] = {}
        self._new: dict[int, _Results] = {}
        self._plan, self._outputs = StreamPlan(), False
        self._given = _Given()
        self._rest: _Given | None = None

    @property
    def used_bytes(self) -> int:
        """Memory that the results of calls take."""
        found = (*self._stored.values(), *self._new.values())
        return sum(results.cache.used_bytes for results in found)

    def close(self) -> None:
        """Forget everything that was kept."""
        self.cancel()
        for results in self._stored.values():
            results.cache.close()
        self._stored = {}

    def prepare(self, unit: Unit, pending: Set[nn.Module], changes: bool, outputs: bool) -> None:
        """Plan the recording of a unit; see ``plan_stream`` for the arguments."""
        self.cancel()
        graph, self._outputs = self.traced.graph, outputs
        self._plan = plan = plan_stream(graph, unit, self._stored.keys(), pending, changes, outputs)
        self._given, self._rest = _Given.of(graph, plan), None
        share = max(1, (self.budget_bytes - self.used_bytes) // max(1, len(plan.kept)))
        self._new = {i: _Results(ActivationCache(share, self.directory)) for i in plan.kept}

    def record(self, unit: Unit, sample: int) -> list[Call]:
        """The calls of the prepared unit on a sample; every sample is recorded once."""

        def run() -> list[Call]:
            outputs = self._outputs
            return record_calls(unit.module, lambda: self._run(sample), unit.num_calls, outputs)

        if self.traced.shapes[sample] is None:
            return run()
        kept = {self.traced.graph.calls[i].key: i for i in self._new}

        def keep(key: CallId, output: Any) -> None:
            if key in kept:
                self._new[kept[key]].append(sample, output)

        given = self._given
        output_of = self._output_of(given, sample)
        with override_calls(given.keys.keys(), output_of, given.inside, kept.keys(), keep):
            return run()

    def starting_at(self, unit: Unit, sample: int) -> AbstractContextManager:
        """Within this context a forward of a sample does not run what lies before a unit.

        Args:
            unit (Unit): The one that was prepared last. Its own calls have to be given.
            sample (int): A sample that was recorded; one that makes other calls than most runs
                as a whole.
        """
        if self.traced.shapes[sample] is None:
            return nullcontext()
        if self._rest is None:
            stored = (self._stored.keys() | self._new.keys()) - self._plan.dropped
            self._rest = _Given.of(self.traced.graph, plan_rest(self.traced.graph, unit, stored))
        output_of = self._output_of(self._rest, sample)
        return override_calls(self._rest.keys.keys(), output_of, self._rest.inside)

    def finish(self) -> None:
        """All samples of the prepared unit are recorded."""
        for i in self._plan.dropped:
            self._stored.pop(i).cache.close()
        self._stored.update(self._new)
        self._new = {}

    def cancel(self) -> None:
        """The prepared unit is recorded in another way; what was kept before stays."""
        for results in self._new.values():
            results.cache.close()
        self._new = {}

    def _output_of(self, given: '_Given', sample: int) -> Callable[[CallId, Any], Any]:
        """Gives what a call returns that does not run."""

        def output_of(key: CallId, args: Any) -> Any:
            i = given.keys[key]
            if i not in given.replayed:
                return _blank(*self.traced.shapes[sample][i])
            return (self._stored[i] if i in self._stored else self._new[i])[sample]

        return output_of


def _blank(structure: Any, sizes: tuple) -> Any:
    """A result that nobody reads; NaN makes an unexpected read visible."""
    tensors = [
        torch.full(shape, torch.nan if dtype.is_floating_point else 0, dtype=dtype, device=device)
        for shape, dtype, device in sizes
    ]
    return unflatten(structure, tensors)
