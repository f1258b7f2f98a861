"""What every observer has in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError, choose_qparams

# Weights are rounded to multiples of 1 / WEIGHT_UNIT, so that sums of them are exact in any order.
WEIGHT_UNIT = 2**20
LARGEST_WEIGHT = 2**15


class Observer(ABC):
    """Watches the values of one tensor over many batches and turns them into a scale.

    An observer knows no model and no layer type, and what it keeps does not grow with the number
    of updates. A module that runs several times per forward simply gives several updates. Sparse
    tensors are observed on their active features (N, C) only: that is up to the caller.

    A subclass implements ``_observe``, ``_range``, ``_state`` and ``_merge``.

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
    def update(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Take in one tensor; an empty one is ignored.

        Args:
            x (Tensor): Any shape; with a ``channel_axis`` that axis has the same size every time.
            weight (Tensor, optional): How much each value counts, from 0 to 32768; 1 is the same
                as no weight, and values of weight 0 are ignored. It has the dimensions of ``x``,
                each of the same size or 1; or one dimension fewer, which is one weight per
                position: the channel axis is left out (``channel_axis``, or axis 1 where the
                scheme has none), so (B, H, W) for a map (B, C, H, W). Weights are rounded to
                multiples of ``2**-20``, which makes sums of them exact: normalise them to a mean
                of about 1. Defaults to None.

        Raises:
            QuantizationError: If ``x`` holds NaN or Inf, its channels do not fit, or ``weight``
                has a wrong shape or range.
        """
        if x.numel() == 0:
            return
        x = x.detach()
        if not x.is_floating_point():
            x = x.float()
        self._check_channels(x)
        rows = self._rows(x, x)
        # One transfer; minimum and maximum carry any NaN and Inf, so no second pass is needed.
        low, high = torch.stack(value_range(rows)).cpu()
        if not (low.isfinite().all() and high.isfinite().all()):
            raise QuantizationError(
                f'a tensor of shape {tuple(x.shape)} holds NaN or Inf: check the calibration '
                'samples and the float weights'
            )
        if weight is not None:
            weight = self._rows(_expand(weight, x, self.scheme.channel_axis), x)
            counted = weight > 0
            if not counted.any():
                return
            rows = rows.masked_fill(~counted, 0)
            low = torch.where(counted, rows, torch.inf).amin(1).float().cpu()
            high = torch.where(counted, rows, -torch.inf).amax(1).float().cpu()
        self._observe(rows, low, high, weight)
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

    def state(self) -> dict[str, Any]:
        """Everything observed so far, as CPU tensors and plain data that ``torch.save`` takes."""
        own = self._state() if self.seen else {}
        return dict(type=type(self).__name__, num_rows=self._num_rows, **own)

    @torch.no_grad()
    def merge(self, states: Iterable[dict[str, Any]]) -> None:
        """Add what other observers with the same options saw.

        Args:
            states (Iterable[dict]): What their ``state`` returned. A new observer that merges the
                states of all parts of the data knows what one observer of all data knows; each
                class says how exactly.

        Raises:
            QuantizationError: If a state is of another class or number of channels.
        """
        for state in states:
            if state['type'] != type(self).__name__:
                raise QuantizationError(
                    f'a {type(self).__name__} cannot merge the state of a {state["type"]}: give '
                    'all processes the same config'
                )
            num_rows = state['num_rows']
            if self.seen and num_rows not in (0, self._num_rows):
                raise QuantizationError(
                    f'a state with {num_rows} channels cannot be merged into one with '
                    f'{self._num_rows}: merge states of the same layer'
                )
            if num_rows:
                self._merge(state)
                self._num_rows = num_rows

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state; the observer must be new.

        Raises:
            QuantizationError: If the observer has seen values already.
        """
        if self.seen:
            raise QuantizationError(
                'this observer has seen values already: load the state into a new one, or merge it'
            )
        self.merge([state])

    def _check_channels(self, x: Tensor) -> None:
        axis = self.scheme.channel_axis
        if axis is None:
            return
        if x.dim() <= axis or (self.seen and x.shape[axis] != self._num_rows):
            expected = f'{self._num_rows} channels' if self.seen else 'channels'
            raise QuantizationError(
                f'a tensor of shape {tuple(x.shape)} does not have {expected} on axis {axis}: '
                'set channel_axis to the axis that has one scale per index'
            )

    def _rows(self, values: Tensor, x: Tensor) -> Tensor:
        """``values``, of the shape of ``x``, as (C, K): a row for each scale.

        It is a view where the memory layout of ``x`` makes that possible.
        """
        axis = self.scheme.channel_axis
        if axis is None:
            # In memory order, so that channels-last tensors need no copy.
            order = sorted(range(x.dim()), key=x.stride, reverse=True)
            return values.permute(order).reshape(1, -1)
        return values.transpose(0, axis).flatten(1)

    @abstractmethod
    def _observe(self, rows: Tensor, low: Tensor, high: Tensor, weight: Tensor | None) -> None:
        """Take in one update.

        Args:
            rows (Tensor): (C, K) finite values; 0 where the weight is 0.
            low (Tensor): (C,) float32 on the CPU, minima of the values that count; inf for a row
                in which none counts.
            high (Tensor): (C,) maxima; -inf for a row in which none counts.
            weight (Tensor, optional): (C, K) float32.
        """

    @abstractmethod
    def _range(self) -> tuple[Tensor, Tensor]:
        """Lower and upper ends (C,) of the range to be covered."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What ``state`` holds besides the class and the number of rows."""

    @abstractmethod
    def _merge(self, state: dict[str, Any]) -> None:
        """Add what another observer saw, which may be everything this one knows."""


def value_range(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum (C,) of each row of a (C, K) tensor, as float32."""
    if len(rows) == 1:
        low, high = (end.view(1) for end in rows.aminmax())
    else:
        # Two calls: aminmax along one axis is twenty times slower on a CPU.
        low, high = rows.amin(1), rows.amax(1)
    return low.float(), high.float()


def _expand(weight: Tensor, x: Tensor, channel_axis: int | None) -> Tensor:
    """``weight`` in the shape of ``x``, float32, rounded to multiples of 1 / WEIGHT_UNIT."""
    weight = weight.detach().to(x.device, torch.float32)
    shape = tuple(weight.shape)
    if weight.dim() and weight.dim() == x.dim() - 1:
        weight = weight.unsqueeze(1 if channel_axis is None else channel_axis)
    if weight.dim() != x.dim() or any(
        size not in (1, whole) for size, whole in zip(weight.shape, x.shape, strict=True)
    ):
        raise QuantizationError(
            f'a weight of shape {shape} does not fit values of shape {tuple(x.shape)}: give every '
            'dimension the same size or 1, or leave out the channel axis'
        )
    low, high = weight.aminmax()
    if not (low >= 0 and high <= LARGEST_WEIGHT):
        raise QuantizationError(
            f'weights from {low.item():g} to {high.item():g} cannot be used: give finite weights '
            f'from 0 to {LARGEST_WEIGHT}, best with a mean of about 1'
        )
    return (weight * WEIGHT_UNIT).round().div(WEIGHT_UNIT).expand_as(x)
