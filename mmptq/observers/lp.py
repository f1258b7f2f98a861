"""The range with the smallest quantization error."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .histogram import StreamingHistogram
from .histogram_observer import HistogramObserver
from .histogram_search import search_histogram
from .tensor_search import search_rows

# The only update so far is kept up to this many values, 64 MiB in float32.
LARGEST_KEPT = 2**24


@TASK_UTILS.register_module()
class LpObserver(HistogramObserver):
    """Minimises the mean of ``|x - x_hat|^p`` over a grid of ranges.

    Candidates are fractions of the min-max range, which is itself one of them: one-sided values
    and symmetric grids are searched over the range, two-sided values on an asymmetric grid over
    range and zero point (BRECQ, QDrop and PD-Quant search like this with p = 2.4). The smaller p,
    the more is clipped. Fractions from 0.5 to 1.2 are the light search of LiDAR-PTQ
    (https://arxiv.org/abs/2401.15865), safe for sparse tensors at 8 bits.

    One scale per tensor is searched on a histogram, so that time and memory do not depend on the
    number of samples. One scale per channel is searched on the tensor itself as long as there is
    only one, as for a weight, and it has at most 16.8 million values; else on a histogram for each
    channel. With weights the error of each value is multiplied by its weight.

    Note:
        The bounds 0.5 and 1.2 are our reading of that paper, which we know by its summaries.

    Args:
        scheme (QScheme): The grid that the scale is for.
        p (float): Exponent of the error. Defaults to 2.0.
        num_candidates (int): Number of fractions. Defaults to 100.
        low (float): Smallest fraction. Defaults to 0.01.
        high (float): Largest fraction; may be above 1. Defaults to 1.0.
        num_bins (int): See :class:`StreamingHistogram`. Defaults to 2048.

    Raises:
        QuantizationError: If an option is out of range.

    Examples:
        >>> observer=dict(type='LpObserver', p=2.4)
        >>> observer=dict(type='LpObserver', low=0.5, high=1.2)
    """

    def __init__(
        self,
        scheme: QScheme,
        p: float = 2.0,
        num_candidates: int = 100,
        low: float = 0.01,
        high: float = 1.0,
        num_bins: int = 2048,
    ):
        super().__init__(scheme, num_bins)
        if p <= 0 or num_candidates < 1 or not 0 < low <= high:
            raise QuantizationError(
                f'LpObserver got p={p!r}, num_candidates={num_candidates!r}, low={low!r}, '
                f'high={high!r}: use p > 0, num_candidates >= 1 and 0 < low <= high'
            )
        self.p = p
        # From large to small, so that the larger of two equally good ranges wins.
        grid = torch.linspace(low, high, num_candidates, dtype=torch.float64, device='cpu')
        self.fractions = torch.cat((grid, grid.new_ones(1))).unique().flip(0)
        self._kept: tuple | None = None

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor, weight: Tensor | None) -> None:
        per_channel = self.scheme.channel_axis is not None
        if per_channel and not self.seen and rows.numel() <= LARGEST_KEPT:
            # Copies, because the caller may go on to change the tensors in place.
            self._kept = rows.clone(), low, high, None if weight is None else weight.clone()
            return
        self._release()
        super()._observe(rows, low, high, weight)

    def _release(self) -> None:
        """Count what is kept."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            super()._observe(*kept)

    def _range(self) -> tuple[Tensor, Tensor]:
        if self._kept is None:
            return super()._range()
        rows, low, high, weight = self._kept
        # A channel without a value that counts keeps the range of its zeros.
        ends = [end.masked_fill(low > high, 0).to(rows.device) for end in (low, high)]
        return search_rows(rows, *ends, self.scheme, self.fractions, self.p, weight)

    def _row_range(self, histogram: StreamingHistogram) -> tuple[float, float]:
        return search_histogram(histogram, self.scheme, self.fractions, self.p)

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        if self._kept is not None:
            state['kept'] = [None if item is None else item.cpu().clone() for item in self._kept]
        return state

    def _merge(self, state: dict[str, Any]) -> None:
        if 'kept' in state and not self.seen:
            self._kept = tuple(state['kept'])
            return
        self._release()
        if 'kept' in state:
            super()._observe(*state['kept'])
        else:
            super()._merge(state)
