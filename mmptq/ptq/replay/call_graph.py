"""Which calls of modules need the results of which others, in one forward of a model."""

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from torch import nn

from .call_trace import CallId

OUTSIDE = -1  # in place of a call: code that no module runs


@dataclass(frozen=True)
class Event:
    """One operator, or the end of a call.

    Attributes:
        reads (frozenset[int]): Values that it reads.
        writes (frozenset[int]): Values that it makes; none if they leave the tensors, as a number
            that decides which way the code takes.
        call (int): The innermost call around it, or ``OUTSIDE``.
    """

    reads: frozenset[int]
    writes: frozenset[int]
    call: int


@dataclass
class CallNode:
    """One call of a module.

    Attributes:
        key (CallId): The module, and which of its calls.
        path (tuple[int]): The calls around it, outermost first, and the call itself.
        start (int): Its first event.
        inputs (frozenset[int]): Values of its arguments.
        outputs (frozenset[int]): Values that it returns; each is made by its last event.
        end (int, optional): The event after its last one; None if it did not return.
        plain (bool): Whether it returned nested tensors and nothing else, which can be replayed.
    """

    key: CallId
    path: tuple[int, ...]
    start: int
    inputs: frozenset[int]
    outputs: frozenset[int] = frozenset()
    end: int | None = None
    plain: bool = False

    @property
    def parents(self) -> tuple[int, ...]:
        """The calls around it, outermost first."""
        return self.path[:-1]

    def within(self, stop: int) -> bool:
        """Whether it ended before the event ``stop``, and its result can be replayed."""
        return self.plain and self.end is not None and self.end <= stop


@dataclass
class CallGraph:
    """All calls and events of one forward, in order."""

    calls: list[CallNode] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def calls_of(self, module: nn.Module) -> list[int]:
        """The calls of a module."""
        return [i for i, call in enumerate(self.calls) if call.key[0] is module]

    def path(self, call: int) -> tuple[int, ...]:
        """A call after the calls around it, outermost first; () for ``OUTSIDE``."""
        return () if call == OUTSIDE else self.calls[call].path

    def outermost(self, calls: Set[int]) -> set[int]:
        """Those calls that are inside of no other one."""
        return {i for i in calls if calls.isdisjoint(self.calls[i].parents)}

    def covered(self, calls: Set[int]) -> set[int]:
        """These calls and all calls inside of them."""
        return {i for i, call in enumerate(self.calls) if not calls.isdisjoint(call.path)}

    def touching(self, modules: Set[nn.Module]) -> set[int]:
        """All calls of these modules, the calls around them, and those inside of them."""
        found = {i for i, call in enumerate(self.calls) if call.key[0] in modules}
        return self.covered(found).union(*(self.calls[i].path for i in found))

    def inside(self, call: int) -> Counter:
        """How often each module runs inside of a call."""
        return Counter(node.key[0] for node in self.calls if call in node.parents)

    def same_calls(self, other: 'CallGraph') -> bool:
        """Whether another forward made the same calls, one inside of the other in the same way."""

        def shape(graph: 'CallGraph') -> list:
            return [(call.key, call.path, call.plain) for call in graph.calls]

        return shape(self) == shape(other)

    def unaffected(self, changing: Set[nn.Module]) -> set[int]:
        """The calls that give the same when these modules change."""
        sources = {i for i, call in enumerate(self.calls) if call.key[0] in changing}
        changed, values, lost = set(sources), set(), False
        for event in self.events:
            path = self.path(event.call)
            if not lost and sources.isdisjoint(path) and values.isdisjoint(event.reads):
                continue
            changed.update(path)
            values |= event.writes
            # A number that decides which way the code takes: anything after it may change.
            lost = lost or not event.writes
        return {i for i, call in enumerate(self.calls) if call.end is not None} - changed

    def needed(self, wanted: Iterable[int], skipped: Set[int], start: int, stop: int) -> set[int]:
        """The values that are needed, with some calls skipped.

        Args:
            wanted (Iterable[int]): Values that are needed in any case.
            skipped (set[int]): Calls that do not run: what they return is taken as given.
            start (int): From this event on, everything outside of skipped calls is needed.
            stop (int): Events from here on do not count.

        Returns:
            set[int]: ``wanted`` and everything that it is made from.
        """
        needed, hidden = set(wanted), self.covered(skipped)
        for index in range(stop - 1, -1, -1):
            event = self.events[index]
            if event.call in hidden:
                continue
            if index >= start or not event.writes or not needed.isdisjoint(event.writes):
                needed |= event.reads
        return needed

    def made_in(self, calls: Set[int]) -> dict[int, set[int]]:
        """All values that are made inside of each of these calls, and are not returned by it."""
        made: dict[int, set[int]] = {i: set() for i in calls}
        for event in self.events:
            for i in calls.intersection(self.path(event.call)):
                made[i] |= event.writes - self.calls[i].outputs
        return made
