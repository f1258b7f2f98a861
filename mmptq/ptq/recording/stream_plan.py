"""What runs, and what is replayed, on the way to the inputs of a unit."""

from collections.abc import Set
from dataclasses import dataclass, field

from torch import nn

from mmptq.ptq.replay.call_graph import CallGraph
from mmptq.ptq.units.unit import Unit


@dataclass
class StreamPlan:
    """How a sample is run up to a unit; calls are positions in the graph.

    Attributes:
        replayed (set[int]): Calls whose recorded results are returned.
        idle (set[int]): Calls that the inputs of the unit do not need.
        kept (set[int]): Calls whose results are recorded, for units that come later.
        dropped (set[int]): Calls whose recorded results no later unit needs.
    """

    replayed: set[int] = field(default_factory=set)
    idle: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)


def plan_stream(
    graph: CallGraph,
    unit: Unit,
    stored: Set[int],
    pending: Set[nn.Module],
    changes: bool,
    outputs: bool,
) -> StreamPlan:
    """Plan the recording of a unit.

    Args:
        graph (CallGraph): Of the model.
        unit (Unit): The unit.
        stored (set[int]): Calls with recorded results.
        pending (set[nn.Module]): Units that are recorded later.
        changes (bool): Whether this unit and the pending ones are going to change: results that
            depend on them are not recorded.
        outputs (bool): Whether the outputs of the unit are wanted.
    """
    own = graph.calls_of(unit.module)[: unit.num_calls]
    last = graph.calls[own[-1]]
    stop = last.end if outputs else last.start
    if changes:
        steady = graph.unaffected(pending | {unit.module})
    else:  # but a call that is replayed hides the units inside of it
        steady = set(range(len(graph.calls))) - graph.touching(pending)
    done = {i for i in steady if graph.calls[i].within(stop)}
    live = _live(graph, done, graph.calls[own[0]].start)
    kept = live - stored
    wanted = {value for i in own for value in graph.calls[i].inputs}
    results = kept.union(own) if outputs else kept
    wanted |= {value for i in results for value in graph.calls[i].outputs}
    needed = graph.needed(wanted, stored, stop, stop)
    busy = _busy(graph, needed, stored, stop).union(*(graph.calls[i].parents for i in own))
    idle = {i for i, call in enumerate(graph.calls[: own[-1]]) if i not in busy and call.plain}
    return StreamPlan(stored & busy, graph.outermost(idle), kept, set(stored) - live)


def plan_rest(graph: CallGraph, unit: Unit, stored: Set[int]) -> StreamPlan:
    """Plan a forward that begins at a recorded unit; the results of the unit are given.

    Args:
        graph (CallGraph): Of the model.
        unit (Unit): The unit.
        stored (set[int]): Calls with recorded results, all that are needed from the unit on.
    """
    start = graph.calls[graph.calls_of(unit.module)[0]].start
    needed = graph.needed((), stored, start, len(graph.events))
    busy = _busy(graph, needed, stored, start)
    idle = {i for i, call in enumerate(graph.calls) if call.within(start) and i not in busy}
    return StreamPlan(set(stored), graph.outermost(idle))


def _live(graph: CallGraph, done: set[int], start: int) -> set[int]:
    """The calls among ``done`` with results that are needed after the event ``start``.

    A call that also changes something else that is needed, such as its argument, has to run.
    """
    done = graph.outermost(done)
    while True:
        needed = graph.needed((), done, start, len(graph.events))
        made = graph.made_in(done)
        leaky = {i for i in done if not needed.isdisjoint(made[i])}
        if not leaky:
            return {i for i in done if not needed.isdisjoint(graph.calls[i].outputs)}
        inner = {i for i in graph.covered(leaky) - leaky if graph.calls[i].plain}
        done = graph.outermost((done - leaky) | inner)


def _busy(graph: CallGraph, needed: set[int], stored: Set[int], stop: int) -> set[int]:
    """The calls that make something that is needed, those that are replayed among them."""
    busy: set[int] = set()
    for event in graph.events[:stop]:
        path = graph.path(event.call)
        replayed = next((i for i in path if i in stored), None)
        if replayed is not None:
            if not needed.isdisjoint(event.writes & graph.calls[replayed].outputs):
                busy.update(path[: path.index(replayed) + 1])
        elif not event.writes or not needed.isdisjoint(event.writes):
            busy.update(path)
    return busy
