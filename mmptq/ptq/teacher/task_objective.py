"""The loss of the detector's outputs as a function of what one unit computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmptq.adapters import Adapter
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.replay.replay import Replay
from mmptq.ptq.units.unit import Unit
from mmptq.quantization import FakeQuantizer, QuantizationError, QuantMixin, quantizers_off


class TaskObjective:
    """A loss on head outputs, on the calibration samples.

    The units before the one in question are quantized, those after it compute in float.

    Args:
        model (nn.Module): The detector.
        adapter (Adapter): Of the model.
        loss (dict): Config of a loss with ``make_target(adapter, raw, data)`` and
            ``forward(adapter, raw, data, target)``.
        samples (ActivationCache): Batches as the model's forward takes them.
        layers (list[QuantMixin]): All layers of all units; they are pending until ``finish``.
        required (bool): Whether nothing else could take the place of this loss. Defaults to False.

    Raises:
        QuantizationError: If the float model gives a required loss no target on any sample.
    """

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        loss: dict[str, Any],
        samples: ActivationCache,
        layers: list[QuantMixin],
        required: bool = False,
    ):
        self.model = model
        self.adapter = adapter
        self._replay: Replay | None = None
        self.loss = MODELS.build(loss)
        self.samples = samples
        self.pending = set(layers)
        self.targets = [self._target(model, samples[index]) for index in range(len(samples))]
        self._report_missing(required)

    def _report_missing(self, required: bool) -> None:
        missing = sum(target is None for target in self.targets)
        if not missing:
            return
        found = (
            f'the float model finds nothing in {missing} of {len(self.targets)} calibration '
            f'samples that {type(self.loss).__name__} could compare with'
        )
        hint = 'check the checkpoint and the calibration data, or lower score_thr of the loss'
        if required and missing == len(self.targets):
            raise QuantizationError(f'{found}: {hint}')
        MMLogger.get_current_instance().warning(f'{found}, only the local loss counts: {hint}')

    @torch.no_grad()
    def _target(self, model: nn.Module, data: Any) -> Any:
        with quantizers_off(model):
            return self.loss.make_target(self.adapter, self.adapter.raw_outputs(data), data)

    def finish(self, unit: Unit) -> None:
        """From now on this unit is one of those before."""
        self.pending -= set(unit.layers.values())

    def __call__(self, unit: Unit, sample: int, outputs: list[Any] | None) -> Tensor:
        """The loss on a sample.

        Args:
            unit (Unit): The unit in question.
            sample (int): Index of the sample.
            outputs (list, optional): What the calls of the unit return; None lets it run.
        """
        target = self.targets[sample]
        if target is None:
            return torch.zeros(())
        with self._float_after(unit), given_outputs(unit.module, outputs):
            run = self._run if self._replay is None else self._replay.run
            raw = run(sample) if unit.name else outputs[0]
            return self.loss(self.adapter, raw, self.samples[sample], target)

    def _run(self, sample: int) -> Any:
        return self.adapter.raw_outputs(self.samples[sample])

    @contextmanager
    def replaying(self, unit: Unit, budget_bytes: int) -> Iterator[None]:
        """Within this context nothing is run that the unit, the only one to change, cannot reach.

        What is recorded for that depends on the unit alone, and not on those before: a resumed
        run records the same.

        Args:
            unit (Unit): The unit that is going to be learned.
            budget_bytes (int): Memory for recorded outputs, see :class:`Replay`.
        """
        if not unit.name:
            yield
            return
        size, directory = len(self.samples), self.samples.directory
        with Replay(self.model, self._run, size, budget_bytes, directory) as replay:
            with self._float_after(unit):
                replay.prepare(unit.module, {unit.module}, lambda *_: None)
            self._replay = replay
            try:
                yield
            finally:
                self._replay = None

    @contextmanager
    def _float_after(self, unit: Unit) -> Iterator[None]:
        after = self.pending - set(unit.layers.values())
        slots = [q for layer in after for q in (layer.weight_quantizer, layer.input_quantizer)]
        slots = [q for q in slots if isinstance(q, FakeQuantizer) and q.enabled]
        for quantizer in slots:
            quantizer.enabled = False
        try:
            yield
        finally:
            for quantizer in slots:
                quantizer.enabled = True


@contextmanager
def given_outputs(module: nn.Module, outputs: list[Any] | None) -> Iterator[None]:
    """Within this context the calls of a module return ``outputs``, one after the other."""
    if outputs is None:
        yield
        return
    rest = iter(outputs)
    before = module.__dict__.get('forward')
    module.forward = lambda *_, **__: next(rest)
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
