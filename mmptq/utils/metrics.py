"""Metrics of any evaluator as plain Python."""

import math
from collections.abc import Mapping
from typing import Any

from .errors import QuantizationError
from .trees import to_plain


def plain_metrics(metrics: Any) -> dict[str, Any]:
    """What an evaluator returned, by name.

    Args:
        metrics (Any): Numbers, NumPy scalars, tensors, texts and None by name, nested in any way;
            None for nothing.

    Returns:
        dict: Numbers as int and float; names of nested ones are joined by a slash. Arrays become
        lists.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        return {'metric': _plain(metrics)}
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            inner = plain_metrics(value)
            found.update({f'{name}/{inner_name}': inner[inner_name] for inner_name in inner})
        else:
            found[str(name)] = _plain(value)
    return found


def is_number(value: Any) -> bool:
    """Whether a plain value is a number that can be compared."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def main_metric(metrics: dict[str, Any]) -> str:
    """Name of the metric that stands for a model.

    Raises:
        QuantizationError: If no metric is a number.
    """
    metrics = {name: value for name, value in metrics.items() if is_number(value)}
    if not metrics:
        raise QuantizationError('the evaluation gave no number: check val_evaluator in the config')
    for ending in ('map', 'f1', 'accuracy'):
        for name in metrics:
            if name.lower().endswith(ending):
                return name
    return next(iter(metrics))


def _plain(value: Any) -> Any:
    value = to_plain(value.detach().cpu() if hasattr(value, 'detach') else value)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value
