"""BRECQ's weights of errors: squared gradients."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.utils.errors import QuantizationError

from .gradients import Gradients
from .importance import Importance


@TASK_UTILS.register_module()
class FisherImportance(Importance):
    """Squared gradients of a loss on head outputs: the diagonal of the Fisher information.

    BRECQ (https://arxiv.org/abs/2102.05426), equation 10: the error of a unit's output counts by
    the squared gradient of the loss with respect to it, with this unit and all units before it
    quantized. Gradients are scaled per sample so that the mean of their squares is 1.

    Note:
        The outputs of a detector have no single distribution whose divergence is the loss, so the
        loss is an argument. With ``floor=1`` half of the weight is the same everywhere, as in the
        official code, which adds 1 to absolute gradients that are far smaller; ``floor=0`` is the
        equation.

    Args:
        loss (dict): Loss of head outputs. Defaults to ``dict(type='DetectionOutputLoss')``.
        floor (float): Weight that is the same everywhere, next to a mean of 1 for the rest.
            Defaults to 1.0.

    Example:
        >>> importance = dict(type='FisherImportance', floor=1.0)
    """

    per_unit = True

    def __init__(
        self,
        loss: dict[str, Any] = dict(type='DetectionOutputLoss'),  # noqa: B006 (never changed)
        floor: float = 1.0,
    ):
        super().__init__(loss)
        if floor < 0:
            raise QuantizationError(f'FisherImportance got floor={floor!r}: use floor >= 0')
        self.floor = floor
        self._gradients: Gradients | None = None
        self._means: dict[tuple[str, int], Tensor | None] = {}

    def fit(self, gradients: Gradients) -> None:
        self._gradients = gradients
        self._means = {}

    def weights(
        self, name: str, sample: int, call: int, side: str = 'output'
    ) -> list[Tensor | float]:
        mean = self._mean(name, sample)
        tensors = self._gradients.of(name, sample, call)
        if mean is None:
            return [1.0] * len(tensors)
        return [
            self.floor / (1 + self.floor)
            if x is None
            else (x.square() / mean + self.floor) / (1 + self.floor)
            for x in tensors
        ]

    def _mean(self, name: str, sample: int) -> Tensor | None:
        """Mean of the squares over all calls; None where the loss does not depend on the unit."""
        if (name, sample) not in self._means:
            found = [x.flatten() for x in self._gradients.tensors(name, sample)]
            mean = torch.cat(found).square().mean().clamp(min=1e-30) if found else None
            self._means[name, sample] = mean
        return self._means[name, sample]
