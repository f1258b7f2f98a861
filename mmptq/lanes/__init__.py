"""Lane detection for mmdet: models, data sets, metrics and hooks."""

from . import datasets, evaluation, hooks, models  # noqa: F401  (they register their classes)
