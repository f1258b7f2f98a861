"""The loss on head outputs as a function of the outputs of one unit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.losses import TaskLoss
from mmptq.ptq import parallel
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.ptq.replay.replay import Replay
from mmptq.ptq.units.unit import Unit
from mmptq.quantization import FakeQuantizer, QuantMixin
from mmptq.utils.hooks import replaced_forwards
from mmptq.utils.sparse_rows import in_site_order
from mmptq.utils.trees import clone_tensors, flatten, map_tensors

from .backward import backward
from .teacher_outputs import TeacherOutputs


class TaskObjective:
    """A loss on head outputs, on the calibration samples.

    The unit that is learned and all units before it are quantized; units after it are float.

    Args:
        teacher (TeacherOutputs): The loss and its targets.
        layers (list[QuantMixin]): All layers of all units; they are pending until ``finish``.
    """

    def __init__(self, teacher: TeacherOutputs, layers: list[QuantMixin]):
        self.teacher = teacher
        self.pending = set(layers)
        self._replay: Replay | None = None

    def finish(self, unit: Unit) -> None:
        """From now on this unit is quantized while others are learned."""
        self.pending -= set(unit.layers.values())

    def parts(self, unit: Unit, sample: int, outputs: list[Any] | None) -> dict[str, Tensor]:
        """The loss on a sample by head.

        Args:
            unit (Unit): The unit that is learned.
            sample (int): Index of the sample.
            outputs (list, optional): Outputs of the unit's calls; None runs the unit.

        Returns:
            dict[str, Tensor]: Scalars; empty for a sample without target.
        """
        if sample not in self.teacher.found:
            return {}
        with self._float_after(unit), given_outputs(unit.module, outputs):
            run = self.teacher.raw_outputs if self._replay is None else self._replay.run
            raw = run(sample) if unit.name or outputs is None else outputs[0]
            return self.teacher.parts(sample, raw)

    def __call__(self, unit: Unit, sample: int, outputs: list[Any] | None) -> Tensor:
        """Sum of ``parts``; a zero for a sample without target."""
        parts = list(self.parts(unit, sample, outputs).values())
        if parts:
            return sum(parts[1:], start=parts[0])
        return torch.zeros((), device=device_of(self.teacher.model))

    def gradients(self, unit: Unit, sample: int, outputs: list[Any]) -> list[list[Tensor | None]]:
        """Gradients of the loss at the outputs of a unit, with one backward.

        Args:
            unit (Unit): The unit.
            sample (int): Index of the sample.
            outputs (list): Outputs of the unit's calls.

        Returns:
            list[list[Tensor | None]]: For each call one entry per tensor that it returns; None
            where the loss does not depend on the tensor. Rows are those of ``in_site_order``.
        """
        leaves = map_tensors(_leaf, outputs)
        # Modules after the unit may work in place, which a leaf does not allow.
        loss = self(unit, sample, clone_tensors(leaves))
        if loss.requires_grad:
            backward(loss)
        return [in_site_order(call, [x.grad for x in flatten(call)[0]]) for call in leaves]

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Within this context the loss is in training mode."""
        self.teacher.loss.train()
        try:
            yield
        finally:
            self.teacher.loss.eval()

    def after_step(self, step: int, losses: list[dict[str, Tensor]]) -> None:
        """Tell the loss its values in a learning step; samples without target do not count."""
        tell_step(self.teacher, step, losses)

    @contextmanager
    def replaying(self, unit: Unit, budget_bytes: int) -> Iterator[None]:
        """Within this context only modules run that the unit affects; others are replayed.

        The recorded outputs depend on this unit and not on the history of the run, so that a
        resumed run records the same.

        Args:
            unit (Unit): The unit that is going to be learned.
            budget_bytes (int): Memory for recorded outputs, see :class:`Replay`.
        """
        if not unit.name or not len(self.teacher):
            yield
            return
        teacher, directory = self.teacher, self.teacher.samples.directory
        with Replay(
            teacher.model, teacher.raw_outputs, len(teacher), budget_bytes, directory
        ) as replay:
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


def tell_step(teacher: TeacherOutputs, step: int, losses: list[dict[str, Tensor]]) -> None:
    """Tell a loss its mean parts over the samples of a step that have a target.

    Args:
        teacher (TeacherOutputs): Holds the loss.
        step (int): Index of the step.
        losses (list[dict[str, Tensor]]): Parts by name for each sample of this process.
    """
    if getattr(teacher.loss.after_step, '__func__', None) is TaskLoss.after_step:
        return  # nobody listens
    own = [{name: part.detach() for name, part in parts.items()} for parts in losses if parts]
    found = [parts for process in parallel.gather(own) for parts in process]
    device = device_of(teacher.model)
    means = {
        name: torch.stack([parts[name].to(device) for parts in found]).mean()
        for name in (found[0] if found else ())
    }
    teacher.loss.after_step(step, means)


@contextmanager
def given_outputs(module: nn.Module, outputs: list[Any] | None) -> Iterator[None]:
    """Within this context the calls of a module return ``outputs``, one after the other."""
    if outputs is None:
        yield
        return
    rest = iter(outputs)
    with replaced_forwards({module: lambda *_, **__: next(rest)}):
        yield


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.is_floating_point())
