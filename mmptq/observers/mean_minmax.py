"""The average range of a batch."""

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

    Args:
        scheme (QScheme): The grid that the scale is for.

    Examples:
        >>> observer=dict(type='MeanMinMaxObserver')
    """

    def __init__(self, scheme: QScheme):
        super().__init__(scheme)
        self._sums: Tensor | None = None
        self._num_updates = 0

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        ends = torch.stack((low, high)).double()
        self._sums = ends if self._sums is None else self._sums + ends
        self._num_updates += 1

    def _range(self) -> tuple[Tensor, Tensor]:
        low, high = self._sums / self._num_updates
        return low, high
