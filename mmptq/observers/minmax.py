"""The plain range."""

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme

from .observer import Observer


@TASK_UTILS.register_module()
class MinMaxObserver(Observer):
    """Covers everything that was seen, from the smallest to the largest value.

    Args:
        scheme (QScheme): The grid that the scale is for.

    Examples:
        >>> observer=dict(type='MinMaxObserver')
    """

    def __init__(self, scheme: QScheme):
        super().__init__(scheme)
        self._ends: tuple[Tensor, Tensor] | None = None

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        if self._ends is not None:
            low = torch.minimum(self._ends[0], low)
            high = torch.maximum(self._ends[1], high)
        self._ends = low, high

    def _range(self) -> tuple[Tensor, Tensor]:
        return self._ends
