"""What observers that work on histograms have in common."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .histogram import StreamingHistogram, ends_of, update_histograms
from .observer import Observer


class HistogramObserver(Observer):
    """Counts values in one histogram per scale; a subclass finds a range on a histogram.

    A value counts as much as its weight. Merged states give the same bits as one pass, with
    weights too, because all counts are integers.

    Args:
        scheme (QScheme): The grid that the scale is for.
        num_bins (int): See :class:`StreamingHistogram`. Defaults to 2048.
    """

    def __init__(self, scheme: QScheme, num_bins: int = 2048):
        super().__init__(scheme)
        self.num_bins = num_bins
        self._histograms: list[StreamingHistogram] = []

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor, weight: Tensor | None) -> None:
        update_histograms(self._histograms, rows, low, high, self.num_bins, weight)

    def _range(self) -> tuple[Tensor, Tensor]:
        return ends_of([self._row_range(histogram) for histogram in self._histograms])

    @abstractmethod
    def _row_range(self, histogram: StreamingHistogram) -> tuple[float, float]:
        """Lower and upper end of the range for one scale."""

    def _state(self) -> dict[str, Any]:
        return dict(
            num_bins=self.num_bins, histograms=[histogram.state() for histogram in self._histograms]
        )

    def _merge(self, state: dict[str, Any]) -> None:
        if state['num_bins'] != self.num_bins:
            raise QuantizationError(
                f'a state with num_bins={state["num_bins"]} cannot be merged into an observer '
                f'with num_bins={self.num_bins}: use the same observer config'
            )
        others = [StreamingHistogram.from_state(item) for item in state['histograms']]
        if not self._histograms:
            self._histograms = others
            return
        for histogram, other in zip(self._histograms, others, strict=True):
            histogram.merge(other)
