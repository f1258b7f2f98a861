"""Recording the inputs and float outputs of units."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.units.unit import Unit
from mmptq.quantization import quantizers_off
from mmptq.utils.errors import QuantizationError
from mmptq.utils.messages import first_line
from mmptq.utils.sparse_rows import RowsDifferError, align_rows
from mmptq.utils.trees import flatten

from .recorder import Call, record_calls
from .stream import Stream, TracedSamples

# On a CPU a replay gives every bit; elsewhere this share of the norm may differ.
TOLERANCE = 1e-2


class UnitRecorder:
    """Runs the calibration samples up to a unit and records its training data.

    ``record_unit`` starts from what earlier units gave, see :class:`Stream`, so that the time for
    all units together is that of a few forwards per sample. On one sample the result is compared
    with that of a whole forward. Where it differs (a layer that reads another's weight, results
    that cannot be replayed), the unit is recorded by whole forwards. So are samples that make
    other calls than most of them.

    Args:
        model (nn.Module): The detector.
        samples (ActivationCache): Batches as the model's forward takes them.
        run (Callable): Runs the model on one of them.
        keep_float (bool): Whether inputs in the float model are wanted.
        keep_target (bool): Whether outputs of the float model are wanted. Defaults to True.
        units (Sequence[Unit]): All units in order; none means that every unit is recorded by
            whole forwards. Defaults to ().
        budget_bytes (int): Memory for what is kept between units. Defaults to 0.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: ActivationCache,
        run: Callable[[Any], Any],
        keep_float: bool,
        keep_target: bool = True,
        units: Sequence[Unit] = (),
        budget_bytes: int = 0,
    ):
        self.model, self.samples, self.run = model, samples, run
        self.keep_float, self.keep_target = keep_float, keep_target
        self.budget_bytes = budget_bytes
        self._pending = {unit.module for unit in units if unit.name}
        # By whether they are the float model's; and what they gave on the sample that is compared.
        self._streams: dict[bool, Stream] | None = None
        self._compared: dict[bool, list[Call]] = {}
        self._streamed: Unit | None = None

    def __enter__(self) -> 'UnitRecorder':
        return self

    def __exit__(self, *_) -> None:
        for stream in (self._streams or {}).values():
            stream.close()
        self._streams = None

    @property
    def used_bytes(self) -> int:
        """Memory that is taken between units."""
        return sum(stream.used_bytes for stream in (self._streams or {}).values())

    def finish(self, unit: Unit) -> None:
        """This unit has been learned, and does not change from now on."""
        self._pending.discard(unit.module)

    def starts_at(self, unit: Unit) -> bool:
        """Whether ``starting_at`` leaves anything out for a unit."""
        return self._streamed is unit

    def starting_at(self, unit: Unit, index: int) -> AbstractContextManager:
        """Within this context a forward of a sample begins at a unit, whose results are given.

        Args:
            unit (Unit): The one that ``record_unit`` was asked for last.
            index (int): A sample that has been recorded.
        """
        return self._streams[False].starting_at(unit, index)

    def record_unit(self, unit: Unit) -> Iterator[dict[str, Any]]:
        """What ``record`` returns, for all samples in order."""
        streamed = self._prepare(unit)
        self._streamed = unit if streamed else None
        streams = list(self._streams.values()) if streamed else []
        try:
            for index in range(len(self.samples)):
                if streamed:
                    entry = self._record(unit, index, self._streamed_calls)
                else:
                    entry = self.record(unit, index)
                yield entry
        except RowsDifferError:
            self._compared.clear()
            for stream in streams:
                stream.cancel()
            raise
        for stream in streams:
            stream.finish()

    def record(self, unit: Unit, index: int) -> dict[str, Any]:
        """Inputs and outputs of a unit on a sample, as lists with one element per call.

        Returns:
            dict: ``sample``, the index; ``input``, the (args, kwargs) that come from the quantized
            units before it, left out for the whole network; ``float_input``, the same in the
            float model, if ``keep_float``; ``target``, the output in the float model, if
            ``keep_target``.

        Raises:
            RowsDifferError: If float and quantized inputs are of different shapes, or on other
                sites.
        """
        if not unit.name:
            return dict(sample=index, **self._whole_network(index))
        return self._record(unit, index, self._calls)

    def _record(
        self, unit: Unit, index: int, calls_of: Callable[[Unit, int, bool], list[Call]]
    ) -> dict[str, Any]:
        float_calls = None
        if self.keep_float or self.keep_target:
            float_calls = calls_of(unit, index, True)
        calls = calls_of(unit, index, False)
        entry = dict(sample=index, input=_arguments(calls))
        if float_calls is not None:
            float_input = _comparable(unit.name, float_calls, calls)
        if self.keep_target:
            entry['target'] = [call.output for call in float_calls]
        if self.keep_float:
            entry['float_input'] = float_input
        return entry

    def _calls(self, unit: Unit, index: int, is_float: bool) -> list[Call]:
        """Calls of the unit in a whole forward, in the float or the quantized model."""
        outputs = is_float and self.keep_target
        with self._mode(is_float):
            return record_calls(
                unit.module, lambda: self._run_sample(index), unit.num_calls, outputs
            )

    def _streamed_calls(self, unit: Unit, index: int, is_float: bool) -> list[Call]:
        """The same from what earlier units gave."""
        stream = self._streams[is_float]
        if index == stream.traced.reference and is_float in self._compared:
            return self._compared.pop(is_float)
        with self._mode(is_float):
            return stream.record(unit, index)

    def _mode(self, is_float: bool) -> AbstractContextManager:
        return quantizers_off(self.model) if is_float else nullcontext()

    def _run_sample(self, index: int) -> Any:
        return self.run(self.samples[index])

    @torch.no_grad()
    def _whole_network(self, index: int) -> dict[str, list]:
        if not self.keep_target:
            return {}
        with quantizers_off(self.model):
            return dict(target=[self._run_sample(index)])

    def _prepare(self, unit: Unit) -> bool:
        """Whether the unit can be recorded from what earlier units gave."""
        if unit.module not in self._pending or not len(self.samples):
            return False
        if self._streams is None:
            self._streams = self._make_streams()
        try:
            reason = self._difference(unit)
        except QuantizationError:
            raise
        except Exception as error:  # any code of any model may refuse what is replayed
            reason = f'a forward from what earlier units gave fails ({first_line(error)})'
        if reason is None:
            return True
        self._compared.clear()
        for stream in self._streams.values():
            stream.cancel()
        MMLogger.get_current_instance().warning(
            f"'{unit.name}' is recorded by whole forwards, which takes longer: {reason}"
        )
        return False

    def _difference(self, unit: Unit) -> str | None:
        """Plan the recording; why the unit cannot be recorded like this, or None."""
        traced = next(iter(self._streams.values())).traced
        if len(traced.graph.calls_of(unit.module)) < unit.num_calls:
            return 'most samples do not run it as the others do'
        if all(self._prepare_stream(unit, is_float) for is_float in self._streams):
            return None
        return 'a forward from what earlier units gave gives something else'

    def _make_streams(self) -> dict[bool, Stream]:
        directory = self.samples.directory
        kinds = [True, False] if self.keep_float or self.keep_target else [False]
        with quantizers_off(self.model):
            traced = TracedSamples.trace(self.model, self._run_sample, len(self.samples))
        share = max(1, self.budget_bytes // len(kinds))
        return {kind: Stream(traced, self._run_sample, share, directory) for kind in kinds}

    def _prepare_stream(self, unit: Unit, is_float: bool) -> bool:
        """Plan the recording; whether it gives the same as a whole forward on one sample."""
        stream, outputs = self._streams[is_float], is_float and self.keep_target
        stream.prepare(unit, self._pending - {unit.module}, not is_float, outputs)
        reference = stream.traced.reference
        found = self._streamed_calls(unit, reference, is_float)
        self._compared[is_float] = found
        return _same(found, self._calls(unit, reference, is_float))


def _arguments(calls: list[Call]) -> list[tuple[tuple, dict]]:
    return [(call.args, call.kwargs) for call in calls]


def _comparable(name: str, float_calls: list[Call], calls: list[Call]) -> list[tuple[tuple, dict]]:
    """Inputs of the float model, row by row those of the quantized one."""
    differs = 'other shapes'
    if _shapes(calls) == _shapes(float_calls):
        with suppress(RowsDifferError):
            return align_rows(_arguments(float_calls), _arguments(calls))[0]
        differs = 'other active sites'
    raise RowsDifferError(
        f"inputs of '{name}' have {differs} in the quantized model than in the float model"
    )


def _shapes(calls: list[Call]) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in flatten(_arguments(calls))[0]]


def _same(first: list[Call], second: list[Call]) -> bool:
    """Whether arguments and outputs of calls are the same."""
    trees = [[(call.args, call.kwargs, call.output) for call in calls] for calls in (first, second)]
    try:
        trees[0] = align_rows(*trees)[0]
    except (RowsDifferError, ValueError):
        return False
    x, y = (flatten(tree)[0] for tree in trees)
    return len(x) == len(y) and all(map(_alike, x, y))


def _alike(x: torch.Tensor, y: torch.Tensor) -> bool:
    if x.device.type == 'cpu' or x.shape != y.shape or not x.is_floating_point():
        return torch.equal(x, y)
    return bool((x - y).float().norm() <= TOLERANCE * y.float().norm())
