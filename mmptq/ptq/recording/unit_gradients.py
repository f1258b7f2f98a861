"""Gradients of a loss on head outputs at the outputs of one unit."""

from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor

from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.ptq.units.unit import Unit
from mmptq.utils.agree import agree
from mmptq.utils.messages import first_line

from .unit_recorder import UnitRecorder

Rows = list[list[Tensor | None]]


class UnitGradients:
    """Gradients at one unit, sample by sample, while the samples are recorded.

    They depend on everything behind the unit, which runs forward and backward for each sample.
    What lies before the unit does not run: the recorder has its results. On one sample the
    gradients are compared with those of a whole forward; where they differ, whole forwards are
    used.

    Args:
        unit (Unit): The unit.
        task (TaskObjective): The loss.
        recorder (UnitRecorder): Records the unit.
    """

    def __init__(self, unit: Unit, task: TaskObjective, recorder: UnitRecorder):
        self.unit, self.task, self.recorder = unit, task, recorder
        self._starts: bool | None = None

    def of(self, sample: int, outputs: list[Any]) -> Rows:
        """The gradients of a sample that was recorded last; see ``TaskObjective.gradients``."""
        if self._starts:
            return self._from_unit(sample, outputs)
        gradients = self.task.gradients(self.unit, sample, outputs)
        if self._starts is None:
            starts = self.recorder.starts_at(self.unit)
            self._starts = starts and self._compare(sample, outputs, gradients)
        return gradients

    def _from_unit(self, sample: int, outputs: list[Any]) -> Rows:
        with self.recorder.starting_at(self.unit, sample):
            return self.task.gradients(self.unit, sample, outputs)

    def _compare(self, sample: int, outputs: list[Any], expected: Rows) -> bool:
        """Whether a forward that begins at the unit gives the same gradients."""
        device, problem = device_of(self.task.teacher.model), 'gives other gradients'
        try:
            with torch.random.fork_rng([device] if device.type == 'cuda' else []):
                found = self._from_unit(sample, outputs)
        except Exception as error:  # any code of any model may refuse what is replayed
            problem = f'fails ({first_line(error)})'
        else:
            if _same(found, expected):
                return True
        MMLogger.get_current_instance().warning(
            f"importance at '{self.unit.name}' takes whole forwards, which takes longer: one that "
            f'begins there {problem}'
        )
        return False


def _same(first: Rows, second: Rows) -> bool:
    pairs = [list(zip(*calls, strict=True)) for calls in zip(first, second, strict=True)]
    return all(_alike(x, y) for call in pairs for x, y in call)


def _alike(x: Tensor | None, y: Tensor | None) -> bool:
    if x is None or y is None:
        return x is y
    return torch.equal(x, y) if x.device.type == 'cpu' else agree(x, y)
