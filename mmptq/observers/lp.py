"""The range with the smallest quantization error."""

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .histogram import StreamingHistogram, ends_of, update_histograms
from .histogram_search import search_histogram
from .observer import Observer, value_range
from .tensor_search import search_rows


@TASK_UTILS.register_module()
class LpObserver(Observer):
    """Minimises the mean of ``|x - x_hat|^p`` over a grid of ranges.

    Candidates are fractions of the min-max range, which is itself one of them: one-sided values
    and symmetric grids are searched over the range, two-sided values on an asymmetric grid over
    range and zero point (BRECQ, QDrop and PD-Quant search like this with p = 2.4). The smaller p,
    the more is clipped. Fractions from 0.5 to 1.2 are the light search of LiDAR-PTQ
    (https://arxiv.org/abs/2401.15865), safe for sparse tensors at 8 bits.

    Note:
        The bounds 0.5 and 1.2 are our reading of that paper, which we know by its summaries.

    One scale per tensor is searched on a histogram, so that time and memory do not depend on the
    number of samples. One scale per channel is searched on the tensor itself as long as there is
    only one, as for a weight, and else on a histogram for each channel.

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
        super().__init__(scheme)
        if p <= 0 or num_candidates < 1 or not 0 < low <= high:
            raise QuantizationError(
                f'LpObserver got p={p!r}, num_candidates={num_candidates!r}, low={low!r}, '
                f'high={high!r}: use p > 0, num_candidates >= 1 and 0 < low <= high'
            )
        self.p = p
        self.num_bins = num_bins
        # From large to small, so that the larger of two equally good ranges wins.
        grid = torch.linspace(low, high, num_candidates, dtype=torch.float64)
        self.fractions = torch.cat((grid, torch.ones(1))).unique().flip(0)
        self._only_rows: Tensor | None = None
        self._histograms: list[StreamingHistogram] = []

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        if self.scheme.channel_axis is not None and not self.seen:
            # A copy, because the caller may go on to change the tensor in place.
            self._only_rows = rows.clone()
            return
        if self._only_rows is not None:
            first, self._only_rows = self._only_rows, None
            update_histograms(self._histograms, first, *value_range(first), self.num_bins)
        update_histograms(self._histograms, rows, low, high, self.num_bins)

    def _range(self) -> tuple[Tensor, Tensor]:
        if self._only_rows is not None:
            ends = value_range(self._only_rows)
            return search_rows(self._only_rows, *ends, self.scheme, self.fractions, self.p)
        return ends_of(
            [
                search_histogram(histogram, self.scheme, self.fractions, self.p)
                for histogram in self._histograms
            ]
        )
