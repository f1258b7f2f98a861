"""The full range."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme

from .observer import Observer


@TASK_UTILS.register_module()
class MinMaxObserver(Observer):
    """Covers everything that was seen, from the smallest to the largest value.

    Values of weight 0 are ignored; all other weights are the same to it. Merged states give the
    same bits as one pass.

    Args:
        scheme (QScheme): The grid that the scale is for.

    Examples:
        >>> observer=dict(type='MinMaxObserver')
    """

    def __init__(self, scheme: QScheme):
        super().__init__(scheme)
        self._ends: Tensor | None = None

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor, weight: Tensor | None) -> None:
        ends = torch.stack((low, high))
        if self._ends is not None:
            ends[0] = torch.minimum(self._ends[0], ends[0])
            ends[1] = torch.maximum(self._ends[1], ends[1])
        self._ends = ends

    def _range(self) -> tuple[Tensor, Tensor]:
        low, high = self._ends
        return low, high

    def _state(self) -> dict[str, Any]:
        return dict(ends=self._ends.clone())

    def _merge(self, state: dict[str, Any]) -> None:
        low, high = state['ends']
        self._observe(None, low, high, None)
