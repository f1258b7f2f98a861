"""Metrics of resampled evaluation sets, from what one evaluation left of each sample."""

from .metric_table import resampled_metric
from .paired_bootstrap import RESAMPLES, interval_of, is_noise, paired_intervals
from .precision_table import PrecisionTable, PrecisionView
from .ratio_table import RatioTable
from .recomputed import Recomputed
from .table_file import load_table, table_arrays

__all__ = [
    'RESAMPLES',
    'PrecisionTable',
    'PrecisionView',
    'RatioTable',
    'Recomputed',
    'interval_of',
    'is_noise',
    'load_table',
    'paired_intervals',
    'resampled_metric',
    'table_arrays',
]
