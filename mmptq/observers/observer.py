"""What every observer has in common."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError, choose_qparams


class Observer(ABC):
    """Watches the values of one tensor over many batches and turns them into a scale.

    An observer knows no model and no layer type, and what it keeps does not grow with the number
    of updates. A module that runs several times per forward simply gives several updates. Sparse
    tensors are observed on their active features (N, C) only: that is up to the caller.

    Args:
        scheme (QScheme): The grid that the scale is for.
    """

    def __init__(self, scheme: QScheme):
        self.scheme = scheme
        self._num_rows = 0
        self._device = torch.device('cpu')

    @property
    def seen(self) -> bool:
        """Whether any value has been observed."""
        return self._num_rows > 0

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in one tensor; an empty one is ignored.

        Args:
            x (Tensor): Any shape; with a ``channel_axis`` that axis has the same size every time.

        Raises:
            QuantizationError: If ``x`` holds NaN or Inf, or its channels do not fit.
        """
        if x.numel() == 0:
            return
        rows = self._rows(x.detach())
        low, high = value_range(rows)
        # Minimum and maximum carry any NaN and Inf, so no second pass over the tensor is needed.
        if not (low.isfinite().all() and high.isfinite().all()):
            raise QuantizationError(
                f'a tensor of shape {tuple(x.shape)} holds NaN or Inf: check the calibration '
                'samples and the float weights'
            )
        self._observe(rows, low, high)
        self._num_rows, self._device = len(rows), rows.device

    @torch.no_grad()
    def qparams(self) -> tuple[Tensor, Tensor]:
        """Scale (C,) float32 and zero point (C,) int32 for everything observed so far.

        Raises:
            QuantizationError: If nothing was observed.
        """
        if not self.seen:
            raise QuantizationError('no values were observed: run calibration data through first')
        low, high = (end.to(self._device) for end in self._range())
        return choose_qparams(low, high, self.scheme)

    def _rows(self, x: Tensor) -> Tensor:
        """``x`` as (C, K): one row of K values for each scale; a view where that is possible."""
        if not x.is_floating_point():
            x = x.float()
        axis = self.scheme.channel_axis
        if axis is None:
            # In memory order, so that channels-last tensors need no copy.
            order = sorted(range(x.dim()), key=x.stride, reverse=True)
            return x.permute(order).reshape(1, -1)
        if x.dim() <= axis or (self.seen and x.shape[axis] != self._num_rows):
            expected = f'{self._num_rows} channels' if self.seen else 'channels'
            raise QuantizationError(
                f'a tensor of shape {tuple(x.shape)} does not have {expected} on axis {axis}: '
                'set channel_axis to the axis that has one scale per index'
            )
        return x.transpose(0, axis).flatten(1)

    @abstractmethod
    def _observe(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        """Take in finite ``rows`` (C, K) with their minima ``low`` and maxima ``high`` (C,)."""

    @abstractmethod
    def _range(self) -> tuple[Tensor, Tensor]:
        """Lower and upper ends (C,) of the range to be covered."""


def value_range(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum (C,) of each row of a (C, K) tensor, as float32."""
    if len(rows) == 1:
        low, high = (end.view(1) for end in rows.aminmax())
    else:
        # Two calls: aminmax along one axis is twenty times slower on a CPU.
        low, high = rows.amin(1), rows.amax(1)
    return low.float(), high.float()
