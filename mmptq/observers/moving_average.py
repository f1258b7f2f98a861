"""A range that follows the batches."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .observer import Observer


@TASK_UTILS.register_module()
class MovingAverageObserver(Observer):
    """Exponential moving average of the minimum and maximum of each update.

    Values of weight 0 are ignored, and an update in which none is left changes nothing; all other
    weights are the same to it.

    Note:
        The result depends on the order of the updates. In a module that runs several times per
        forward (a head on five pyramid levels) the last call weighs most: use
        :class:`MeanMinMaxObserver` there. For the same reason merged states do not equal one pass:
        they give the mean of the averages, weighted by the number of updates.

    Args:
        scheme (QScheme): The grid that the scale is for.
        momentum (float): Weight of the newest update, as in BatchNorm. Defaults to 0.1.

    Raises:
        QuantizationError: If ``momentum`` is not in (0, 1].

    Examples:
        >>> observer=dict(type='MovingAverageObserver', momentum=0.1)
    """

    def __init__(self, scheme: QScheme, momentum: float = 0.1):
        super().__init__(scheme)
        if not 0 < momentum <= 1:
            raise QuantizationError(
                f'momentum={momentum!r} of MovingAverageObserver must be above 0 and at most 1'
            )
        self.momentum = momentum
        self._ends: Tensor | None = None
        self._counts: Tensor | None = None

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor, weight: Tensor | None) -> None:
        ends, counted = torch.stack((low, high)), low <= high
        if self._ends is None:
            self._ends, self._counts = ends.masked_fill(~counted, 0), counted.double()
            return
        pairs = zip(self._ends, ends, strict=True)
        average = torch.stack([old.lerp(new, self.momentum) for old, new in pairs])
        average = torch.where(self._counts > 0, average, ends)
        self._ends = torch.where(counted, average, self._ends)
        self._counts = self._counts + counted

    def _range(self) -> tuple[Tensor, Tensor]:
        low, high = self._ends
        return low, high

    def _state(self) -> dict[str, Any]:
        return dict(ends=self._ends.clone(), counts=self._counts.clone())

    def _merge(self, state: dict[str, Any]) -> None:
        if self._ends is None:
            self._ends, self._counts = state['ends'].clone(), state['counts'].clone()
            return
        counts = self._counts + state['counts']
        share = (state['counts'] / counts.clamp(min=1)).float()
        self._ends = self._ends.lerp(state['ends'], share)
        self._counts = counts
