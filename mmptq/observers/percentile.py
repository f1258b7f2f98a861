"""A range that leaves out a small share of the values."""

from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .histogram import StreamingHistogram
from .histogram_observer import HistogramObserver


@TASK_UTILS.register_module()
class PercentileObserver(HistogramObserver):
    """Covers ``percentile`` percent of the values on each side that has values.

    One-sided data is cut at the far end only, two-sided data at both ends, and the magnitudes
    where the scheme is symmetric. All values count, zeros included; with weights the percentage is
    one of the sum of all weights.

    Note:
        On a tensor of which 90 % is zero, 99.9 is the 99th percentile of the rest: cut less there.
        Where nothing but zero would be left, the full range is covered instead.

    Args:
        scheme (QScheme): The grid that the scale is for.
        percentile (float): In percent. Defaults to 99.99.
        num_bins (int): See :class:`StreamingHistogram`. Defaults to 2048.

    Raises:
        QuantizationError: If ``percentile`` is not in (50, 100].

    Examples:
        >>> observer=dict(type='PercentileObserver', percentile=99.99)
    """

    def __init__(self, scheme: QScheme, percentile: float = 99.99, num_bins: int = 2048):
        super().__init__(scheme, num_bins)
        if not 50 < percentile <= 100:
            raise QuantizationError(
                f'percentile={percentile!r} of PercentileObserver must be above 50 and at most 100'
            )
        self.percentile = percentile

    def _row_range(self, histogram: StreamingHistogram) -> tuple[float, float]:
        num_outside = histogram.total * (1 - self.percentile / 100)
        if self.scheme.symmetric:
            counts = histogram.magnitudes(self.scheme)
            bound = histogram.width * cut(counts, num_outside)
            low, high = max(histogram.low, -bound), min(histogram.high, bound)
        else:
            negative, positive = histogram.sides()
            low = max(histogram.low, -histogram.width * cut(negative, num_outside))
            high = min(histogram.high, histogram.width * cut(positive, num_outside))
        return (low, high) if low < high else (histogram.low, histogram.high)


def cut(counts: Tensor, num_outside: float) -> float:
    """Distance from zero, in bins, beyond which ``num_outside`` of the ``counts`` (B,) lie."""
    beyond = counts.flip(0).cumsum(0).flip(0)
    inside = int((beyond > num_outside).sum())
    if inside == 0:
        return 0.0
    share = (float(beyond[inside - 1]) - num_outside) / float(counts[inside - 1])
    return inside - 1 + share
