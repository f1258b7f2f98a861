"""What a unit is trained on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.utils.trees import flatten

from .unit import Unit
from .unit_data import mix_arguments


class UnitObjective:
    """Distance of a unit's outputs from the float ones, and maybe a loss on head outputs.

    Args:
        unit (Unit): The unit.
        forward (Callable): Runs it on the arguments of one call.
        local (nn.Module): Loss ``(pred, target, weight)`` of an output.
        task (TaskObjective, optional): Loss on head outputs.
        weight (Tensor, optional): Factors of the errors, broadcast to each output; entries may
            have their own under ``importance`` on top.
    """

    def __init__(
        self,
        unit: Unit,
        forward: Callable[..., Any],
        local: nn.Module,
        task: TaskObjective | None = None,
        weight: Tensor | None = None,
    ):
        self.unit = unit
        self.forward = forward
        self.local = local
        self.task = task
        self.weight = weight

    def __call__(self, entry: dict[str, Any], drop_prob: float) -> Tensor:
        """The loss on an entry made by ``record_unit``.

        Args:
            entry (dict): Inputs and targets of all calls.
            drop_prob (float): Share of the input that is taken from the float model.
        """
        outputs = self.outputs(entry, drop_prob)
        loss = self._local_loss(outputs, entry)
        if self.task is not None:
            loss = loss + self.task(self.unit, entry['sample'], outputs)
        return loss

    def outputs(self, entry: dict[str, Any], drop_prob: float) -> list[Any]:
        """What the calls of the unit return."""
        floats = entry.get('float_input', entry['input'])
        outputs = []
        for call, original in zip(entry['input'], floats, strict=True):
            args, kwargs = mix_arguments(call, original, drop_prob)
            outputs.append(self.forward(*args, **kwargs))
        return outputs

    def _local_loss(self, outputs: list[Any], entry: dict[str, Any]) -> Tensor:
        preds, targets = flatten(outputs)[0], flatten(entry['target'])[0]
        weights = [self.weight] * len(preds)
        if 'importance' in entry:
            weights = flatten(entry['importance'])[0]
            weights = [w if self.weight is None else w * self.weight for w in weights]
        losses = [
            self.local(pred, target, weight)
            for pred, target, weight in zip(preds, targets, weights, strict=True)
            if target.is_floating_point() and target.numel()
        ]
        if not losses:  # a scan without points, an image without proposals
            return torch.zeros(())
        # Calls on several levels of a pyramid count the same, whatever their size.
        return torch.stack(losses).mean()
