"""The loss that a unit is trained on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.recording.unit_data import mix_arguments
from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.utils.messages import first_line
from mmptq.utils.sparse_rows import align_rows
from mmptq.utils.trees import flatten

from .unit import Unit


class UnitObjective:
    """Distance of a unit's outputs from the float ones, a loss on head outputs, or their sum.

    Args:
        unit (Unit): The unit.
        forward (Callable): Runs it on the arguments of one call.
        local (nn.Module, optional): Loss ``(pred, target, weight)`` of an output. Defaults to
            None, which leaves the loss on head outputs alone.
        task (TaskObjective, optional): Loss on head outputs. Defaults to None.
    """

    def __init__(
        self,
        unit: Unit,
        forward: Callable[..., Any],
        local: nn.Module | None = None,
        task: TaskObjective | None = None,
    ):
        self.unit = unit
        self.forward = forward
        self.local = local
        self.task = task

    def losses(self, entry: dict[str, Any], drop_prob: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on an entry made by ``UnitRecorder.record``.

        Args:
            entry (dict): Inputs and targets of all calls.
            drop_prob (float): Share of the input that is taken from the float model.

        Returns:
            tuple: The loss, a scalar; those parts of it that are losses on head outputs.
        """
        outputs = self.outputs(entry, drop_prob)
        parts = {}
        if self.task is not None:
            parts = self.task.parts(self.unit, entry['sample'], outputs)
        terms = [] if self.local is None else [self._local_loss(outputs, entry)]
        terms += parts.values()
        return sum(terms[1:], start=terms[0]) if terms else self._zero(outputs), parts

    def outputs(self, entry: dict[str, Any], drop_prob: float) -> list[Any]:
        """What the calls of the unit return."""
        floats = entry.get('float_input', entry['input'])
        outputs = []
        for call, original in zip(entry['input'], floats, strict=True):
            args, kwargs = mix_arguments(call, original, drop_prob)
            outputs.append(self.forward(*args, **kwargs))
        return outputs

    @torch.no_grad()
    def problem(self, entry: dict[str, Any]) -> str | None:
        """Why the unit cannot be learned on an entry, or None."""
        if not self.unit.name:
            return None  # the whole network is not recorded, and runs as it did before
        try:
            self.outputs(entry, 0.0)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # any code of any model
            return f'it does not run by itself ({first_line(error)})'
        calls = entry.get('target')
        comparable = any(x.is_floating_point() for x in flatten(calls)[0])
        if calls and self.task is None and not comparable:
            return 'it returns no tensors that can be compared'
        return None

    def _local_loss(self, outputs: list[Any], entry: dict[str, Any]) -> Tensor:
        preds = flatten(outputs)[0]
        weights = [None] * len(preds)
        if 'importance' in entry:
            weights = flatten(entry['importance'])[0]
        target, weights = align_rows(entry['target'], outputs, weights)
        targets = flatten(target)[0]
        losses = [
            self.local(pred, target, weight)
            for pred, target, weight in zip(preds, targets, weights, strict=True)
            if target.is_floating_point() and target.numel()
        ]
        if not losses:  # a scan without points, an image without proposals
            return self._zero(outputs)
        # Calls on several levels of a pyramid count the same, whatever their size.
        return torch.stack(losses).mean()

    def _zero(self, outputs: list[Any]) -> Tensor:
        """A scalar zero on the device of the outputs, or of the unit if it returned no tensor."""
        tensors = flatten(outputs)[0] or list(self.unit.module.parameters())
        return torch.zeros((), device=tensors[0].device)
