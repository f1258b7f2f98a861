"""The range that keeps the distribution of the values."""

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .histogram import StreamingHistogram
from .histogram_observer import HistogramObserver


@TASK_UTILS.register_module()
class EntropyObserver(HistogramObserver):
    """Minimises the Kullback-Leibler divergence between the values and their quantized form.

    The search of TensorRT's entropy calibration (S. Migacz, 8-bit inference with TensorRT, GTC
    2017): for ever larger ranges, values outside are moved to the last bin, and the bins inside
    are averaged over as many groups as the grid has levels. Magnitudes are searched where the
    scheme is symmetric; else both ends move in proportion.

    Note:
        Exact zeros are left out, as NVIDIA's own calibrator does with the first bin: they need no
        level, and a ReLU's peak at zero would push the search to its smallest range. The search
        still sees probabilities and not distances: it clips the few large values of a sparse
        tensor, which ruins LiDAR detectors, most of all with ``count_zeros=True``.

    Args:
        scheme (QScheme): The grid that the scale is for.
        count_zeros (bool): Whether exact zeros are part of the distribution. Defaults to False.
        num_candidates (int): Number of ranges that are tried. Defaults to 512.
        num_bins (int): See :class:`StreamingHistogram`. Defaults to 2048.

    Raises:
        QuantizationError: If ``num_candidates`` is not positive.

    Examples:
        >>> observer=dict(type='EntropyObserver')
    """

    def __init__(
        self,
        scheme: QScheme,
        count_zeros: bool = False,
        num_candidates: int = 512,
        num_bins: int = 2048,
    ):
        super().__init__(scheme, num_bins)
        if num_candidates < 1:
            raise QuantizationError(
                f'num_candidates={num_candidates!r} of EntropyObserver must be at least 1'
            )
        self.count_zeros = count_zeros
        self.num_candidates = num_candidates

    def _row_range(self, histogram: StreamingHistogram) -> tuple[float, float]:
        scheme = self.scheme
        negative, positive = histogram.sides()
        num_levels = scheme.qmax - scheme.qmin + 1
        if scheme.symmetric:
            negative, positive = positive[:0], histogram.magnitudes(scheme)
            if scheme.signed or (scheme.signed is None and histogram.low < 0):
                num_levels = scheme.qmax - scheme.middle + 1
        counts = torch.cat((negative.flip(0), positive))
        if len(counts) <= num_levels:
            return histogram.low, histogram.high
        if self.count_zeros:
            counts[min(len(negative), len(counts) - 1)] += histogram.num_zeros
        counts = counts * histogram.unit  # integers, as the search expects
        shares = torch.linspace(
            1, num_levels / len(counts), self.num_candidates, dtype=torch.float64
        )
        below, above = (torch.ceil(len(side) * shares).long() for side in (negative, positive))
        divergence = kl_divergence(counts, len(negative) - below, len(negative) + above, num_levels)
        best = divergence.argmin()
        bound = histogram.width * float(above[best])
        low = -bound if scheme.symmetric else -histogram.width * float(below[best])
        return max(histogram.low, low), min(histogram.high, bound)


def kl_divergence(counts: Tensor, starts: Tensor, stops: Tensor, num_levels: int) -> Tensor:
    """Divergence (T,) between a histogram cut at T ranges and its coarse form.

    With P the counts in bins ``start .. stop``, those outside added to the first and last bin, and
    Q the counts averaged over the non-empty bins of each of ``num_levels`` groups, it is
    ``sum P log(P / Q)``. Q is constant within a group, so that sums over groups suffice.

    Args:
        counts (Tensor): (B,) float64.
        starts (Tensor): (T,) first bin of each range.
        stops (Tensor): (T,) last bin of each range plus one, at least ``num_levels`` larger.
        num_levels (int): Levels of the grid, at least 2.
    """
    mass, filled, self_entropy = (
        torch.nn.functional.pad(x.cumsum(0), (1, 0))
        for x in (counts, (counts > 0).double(), torch.xlogy(counts, counts))
    )
    total, left, right = mass[-1], mass[starts], mass[-1] - mass[stops]
    first, last = counts[starts], counts[stops - 1]

    groups = torch.arange(num_levels + 1)
    size = (stops - starts).unsqueeze(1)
    bounds = starts.unsqueeze(1) + (groups * size + num_levels - 1) // num_levels
    group_mass = mass[bounds].diff(dim=1)
    mean = group_mass / filled[bounds].diff(dim=1).clamp(min=1)
    log_mean = torch.where(group_mass > 0, mean, 1).log()
    log_inside = (mass[stops] - mass[starts]).clamp(min=1).log()
    # A range with values outside and an empty last bin has P > 0 where Q = 0.
    impossible = ((left > 0) & (first == 0)) | ((right > 0) & (last == 0))

    cross = (group_mass * log_mean).sum(1) + left * log_mean[:, 0] + right * log_mean[:, -1]
    own = self_entropy[stops] - self_entropy[starts]
    for edge, outside in ((first, left), (last, right)):
        own = own - torch.xlogy(edge, edge) + torch.xlogy(edge + outside, edge + outside)
    divergence = (own - cross) / total - total.log() + log_inside
    return divergence.masked_fill(impossible, torch.inf)
