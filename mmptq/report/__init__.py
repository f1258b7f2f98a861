"""What a run did and what it brought, as tables."""

from .coverage import coverage_rows, model_size
from .tables import comparison_rows, format_table

__all__ = ['comparison_rows', 'coverage_rows', 'format_table', 'model_size']
