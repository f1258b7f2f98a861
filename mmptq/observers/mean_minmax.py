"""The average range of a batch."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme

from .observer import Observer


@TASK_UTILS.register_module()
class MeanMinMaxObserver(Observer):
    """Mean over all updates of the minimum and of the maximum of an update.

    One extreme sample widens the range by its share only; the order of the updates does not
    matter. It is known as mean min-max in NNCF.

    Values of weight 0 are ignored, and an update in which none is left does not count; all other
    weights are the same to it. Merged states equal one pass up to the rounding of float64 sums.

    Args:
        scheme (QScheme): The grid that the scale is for.

    Examples:
        >>> observer=dict(type='MeanMinMaxObserver')
    """

    def __init__(self, scheme: QScheme):
        super().__init__(scheme)
        self._sums: Tensor | None = None
        self._counts: Tensor | None = None

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor, weight: Tensor | None) -> None:
        counted = low <= high
        ends = torch.stack((low, high)).double().masked_fill(~counted, 0)
        self._add(ends, counted.double())

    def _add(self, sums: Tensor, counts: Tensor) -> None:
        self._sums = sums if self._sums is None else self._sums + sums
        self._counts = counts if self._counts is None else self._counts + counts

    def _range(self) -> tuple[Tensor, Tensor]:
        low, high = self._sums / self._counts.clamp(min=1)
        return low, high

    def _state(self) -> dict[str, Any]:
        return dict(sums=self._sums.clone(), counts=self._counts.clone())

    def _merge(self, state: dict[str, Any]) -> None:
        self._add(state['sums'], state['counts'])
