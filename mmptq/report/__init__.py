"""What a run did and what it brought, as tables and pictures."""

from mmptq.utils.metrics import main_metric

from .lane_pictures import compare_lanes, draw_lanes
from .lane_report import lane_report
from .line_chart import line_chart
from .run_file import find_record, read_record, read_run
from .tables import comparison_rows, coverage_text, format_table, metric_label

__all__ = [
    'compare_lanes',
    'comparison_rows',
    'coverage_text',
    'draw_lanes',
    'find_record',
    'format_table',
    'lane_report',
    'line_chart',
    'main_metric',
    'metric_label',
    'read_record',
    'read_run',
]
