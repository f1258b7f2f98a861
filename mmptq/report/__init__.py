"""What a run did and what it brought, as tables and pictures."""

from .coverage import coverage_rows, model_size
from .lane_pictures import compare_lanes, draw_lanes
from .tables import comparison_rows, format_table, main_metric, metric_label

__all__ = [
    'compare_lanes',
    'comparison_rows',
    'coverage_rows',
    'draw_lanes',
    'format_table',
    'main_metric',
    'metric_label',
    'model_size',
]
