"""Repeated forward passes that skip the parts of a model that did not change."""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.stop_forward import StopForward
from mmptq.utils.trees import copy_tensors, flatten, map_tensors

from .activation_cache import ActivationCache
from .call_trace import CallId, TracedCall, trace_calls, unaffected_calls
from .live_outputs import live_outputs
from .override_calls import override_calls


@dataclass
class _Blank:
    """Stands in for an output that is never read; keeps only the shapes of its tensors."""

    tree: Any

    @classmethod
    def of(cls, output: Any) -> '_Blank':
        # NaN makes an unexpected read visible.
        def blank(x: Tensor) -> Tensor:
            return x.new_full((), torch.nan if x.is_floating_point() else 0).expand(x.shape)

        return cls(map_tensors(blank, output))


@dataclass
class _Record:
    """Outputs that are replayed: places in the cache, or blanks, by sample and call."""

    cache: ActivationCache
    entries: list[dict[CallId, int | _Blank]] = field(default_factory=list)

    def output(self, sample: int, key: CallId) -> Any:
        entry = self.entries[sample][key]
        return entry.tree if isinstance(entry, _Blank) else self.cache[entry]


@dataclass
class _Plan:
    """The calls that are replayed for one layer.

    Attributes:
        keys (set[CallId]): Outermost calls that the prepared layer does not affect.
        read (set[CallId]): Calls among ``keys`` with outputs that a running module reads.
        usable (set[CallId]): Calls with recorded outputs that are still valid.
        inside (dict[CallId, Counter]): Numbers of calls of modules inside of calls.
    """

    keys: set[CallId] = field(default_factory=set)
    read: set[CallId] = field(default_factory=set)
    usable: set[CallId] = field(default_factory=set)
    inside: dict[CallId, Counter] = field(default_factory=dict)


class Replay:
    """Runs samples while layers change one after the other; the rest comes from a cache.

    ``prepare`` finds the calls of modules that a change in a layer does not reach, see
    ``unaffected_calls``, and records the outputs of the outermost ones for each sample. ``run``
    then returns these in place of running the modules. This skips everything before the layer,
    parallel branches and other levels of a pyramid, for any network.

    Args:
        model (nn.Module): In eval mode. Between two calls of ``prepare`` only the prepared layer
            may change.
        run (Callable): Runs the model on a sample, given its index.
        num_samples (int): Number of samples.
        budget_bytes (int): Memory for recorded outputs, see :class:`ActivationCache`.
        directory (str | Path): Folder of the file for outputs beyond the budget.
        enabled (bool): If not, ``run`` runs everything: to compare with. Defaults to True.
    """

    def __init__(
        self,
        model: nn.Module,
        run: Callable[[int], Any],
        num_samples: int,
        budget_bytes: int,
        directory: str | Path,
        enabled: bool = True,
    ):
        self.model = model
        self.num_samples = num_samples
        self.enabled = enabled
        self._run = run
        # A new record is made from the last one: both exist for a while.
        self._make_cache = lambda: ActivationCache(budget_bytes // 2, directory)
        self._record = _Record(self._make_cache(), [{} for _ in range(num_samples)])
        self._plan = _Plan()

    def __enter__(self) -> 'Replay':
        return self

    def __exit__(self, *_) -> None:
        self._record.cache.close()

    def run(self, sample: int) -> Any:
        """Output of the model for a sample; replayed outputs have no gradient."""
        keys = self._record.entries[sample].keys()
        with override_calls(keys, self._recorded(sample), self._plan.inside):
            return self._run(sample)

    @torch.no_grad()
    def prepare(
        self, layer: nn.Module, pending: set[nn.Module], observe: Callable[[int, tuple], None]
    ) -> bool:
        """Prepare for changes in ``layer``; everything else stays as it is until the next call.

        Args:
            layer (nn.Module): The layer that is about to change.
            pending (set[nn.Module]): Layers that later calls will prepare.
            observe (Callable): Takes the index of a sample and the arguments of a call of the
                layer, for all its calls on all samples.

        Returns:
            bool: Whether the layer runs at all.
        """
        calls, reference = trace_calls(self.model, lambda: self._run(0))
        num_calls = sum(module is layer for module, _ in calls)
        if self.enabled and num_calls:
            self._plan = self._make_plan(layer, pending, calls, reference)
        record = _Record(self._make_cache())
        for sample in range(self.num_samples if num_calls else 0):
            entries = self._record_sample(sample, record.cache, layer, num_calls, observe)
            record.entries.append(entries)
        if num_calls:
            self._record.cache.close()
            self._record = record
        return num_calls > 0

    def _make_plan(
        self,
        layer: nn.Module,
        pending: set[nn.Module],
        calls: dict[CallId, TracedCall],
        reference: Any,
    ) -> _Plan:
        unaffected = unaffected_calls(self.model, lambda: self._run(0), layer, calls)
        keys = {key for key in unaffected if not unaffected.intersection(calls[key].parents)}
        recorded = unaffected.intersection(self._record.entries[0])
        inside = _count_inside(calls, keys | recorded)
        for usable in (recorded, set()):
            plan = _Plan(keys, set(), usable, inside)
            try:
                if self._find_live(plan, pending, reference):
                    return plan
            except RuntimeError:  # an in-place operation on a stand-in of the last record
                if not usable:
                    raise
        MMLogger.get_current_instance().warning(
            f'{type(layer).__name__}: cannot cache activations here; falling back to full forwards'
        )
        return _Plan()

    def _find_live(self, plan: _Plan, pending: set[nn.Module], reference: Any) -> bool:
        """Find the outputs that are needed; returns whether the replay of sample 0 is correct."""
        outputs: dict[CallId, Any] = {}

        def keep(key: CallId, output: Any) -> None:
            if key in plan.keys:
                outputs[key] = copy_tensors(output)

        with override_calls(plan.usable, self._recorded(0), plan.inside, plan.keys, keep):
            self._run(0)
        found = live_outputs(
            self.model, lambda: self._run(0), copy_tensors(outputs), plan.inside, pending
        )
        plan.read.update(found)
        needed = {
            key: output if key in plan.read else _Blank.of(output).tree
            for key, output in outputs.items()
        }
        with override_calls(needed.keys(), lambda key, args: needed[key], plan.inside):
            return _same(self._run(0), reference)

    def _recorded(self, sample: int) -> Callable[[CallId, Any], Any]:
        return lambda key, args: self._record.output(sample, key)

    def _record_sample(
        self,
        sample: int,
        cache: ActivationCache,
        layer: nn.Module,
        num_calls: int,
        observe: Callable[[int, tuple], None],
    ) -> dict[CallId, int | _Blank]:
        """Run a sample as far as needed; returns where the replayed outputs are stored."""
        plan, entries = self._plan, {}
        missing = len(plan.keys) + num_calls

        def count() -> None:
            nonlocal missing
            missing -= 1
            if missing == 0:
                raise StopForward

        def keep(key: CallId, output: Any) -> None:
            if key not in plan.keys:
                return
            if key in plan.read:
                entries[key] = len(cache)
                cache.append(output)
            else:
                entries[key] = _Blank.of(output)
            count()

        def enter(_, args):
            observe(sample, args)
            count()

        usable = plan.usable & self._record.entries[sample].keys()
        with (
            contextlib.suppress(StopForward),
            temporary_hooks({layer: enter}),
            override_calls(usable, self._recorded(sample), plan.inside, plan.keys, keep),
        ):
            self._run(sample)
        return entries


def _count_inside(calls: dict[CallId, TracedCall], keys: set[CallId]) -> dict[CallId, Counter]:
    inside = {key: Counter() for key in keys}
    for (module, _), call in calls.items():
        for parent in keys.intersection(call.parents):
            inside[parent][module] += 1
    return inside


def _same(first: Any, second: Any) -> bool:
    tensors = (flatten(first)[0], flatten(second)[0])
    return len(tensors[0]) == len(tensors[1]) and all(
        torch.allclose(x, y, rtol=1e-4, atol=1e-6) for x, y in zip(*tensors, strict=True)
    )
