"""How the range of a tensor is found."""

from .entropy import EntropyObserver
from .histogram import StreamingHistogram
from .histogram_observer import HistogramObserver
from .lp import LpObserver
from .mean_minmax import MeanMinMaxObserver
from .minmax import MinMaxObserver
from .moving_average import MovingAverageObserver
from .observer import Observer
from .percentile import PercentileObserver

__all__ = [
    'EntropyObserver',
    'HistogramObserver',
    'LpObserver',
    'MeanMinMaxObserver',
    'MinMaxObserver',
    'MovingAverageObserver',
    'Observer',
    'PercentileObserver',
    'StreamingHistogram',
]
