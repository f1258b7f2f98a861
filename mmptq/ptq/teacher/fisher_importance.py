"""How much each value of a unit's output matters to the detections."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.ptq.units.unit import Unit
from mmptq.quantization import QuantizationError
from mmptq.utils.trees import flatten, map_tensors

from .task_objective import TaskObjective


@TASK_UTILS.register_module()
class FisherImportance:
    """Squared gradients of a loss on head outputs: the diagonal of the Fisher information.

    BRECQ (https://arxiv.org/abs/2102.05426), equation 10: the error of a unit's output counts by
    the squared gradient of the loss with respect to it, taken where the unit and those before it
    are quantized. Gradients are scaled per sample so that the mean of their squares is 1.

    Note:
        The detectors' outputs have no single distribution whose divergence is the loss, so that
        the loss is an argument. With ``floor=1`` half of the weight is the same everywhere, as it
        is in the official code, which adds 1 to absolute gradients that are far smaller;
        ``floor=0`` is the equation.

    Args:
        loss (dict): Loss of head outputs. Defaults to ``dict(type='DetectionOutputLoss')``.
        floor (float): Weight that is the same everywhere, next to a mean of 1 for the rest.
            Defaults to 1.0.

    Example:
        >>> importance = dict(type='FisherImportance', floor=1.0)
    """

    def __init__(
        self,
        loss: dict[str, Any] = dict(type='DetectionOutputLoss'),  # noqa: B006 (never changed)
        floor: float = 1.0,
    ):
        if floor < 0:
            raise QuantizationError(f'FisherImportance got floor={floor!r}: use at least 0')
        self.loss = loss
        self.floor = floor

    def estimate(self, task: TaskObjective, unit: Unit, sample: int, outputs: list) -> list:
        """Weights of the errors of a unit's outputs on one sample.

        Args:
            task (TaskObjective): With the loss of this object.
            unit (Unit): The unit.
            sample (int): Index of the sample.
            outputs (list): What the calls of the unit return when it is quantized.

        Returns:
            list: The same nested tensors, each value replaced by its weight; the mean is 1.
        """
        leaves = map_tensors(_leaf, outputs)
        # Modules after the unit may work in place, which a leaf does not allow.
        loss = task(unit, sample, map_tensors(lambda x: x.clone(), leaves))
        if loss.requires_grad:
            loss.backward()
        found = [x.grad for x in flatten(leaves)[0] if x.grad is not None]
        if not found:
            return map_tensors(torch.ones_like, outputs)
        mean = torch.cat([x.flatten() for x in found]).square().mean().clamp(min=1e-30)
        return map_tensors(lambda x: self._weight(x, mean), leaves)

    def _weight(self, leaf: Tensor, mean: Tensor) -> Tensor:
        if not leaf.is_floating_point():  # the places of a sparse tensor
            return leaf
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return (gradient.square() / mean + self.floor) / (1 + self.floor)


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.is_floating_point())
