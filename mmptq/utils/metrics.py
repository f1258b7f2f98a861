"""Metrics of any evaluator as plain Python."""

from collections.abc import Mapping
from typing import Any

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
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    value = to_plain(value.detach().cpu() if hasattr(value, 'detach') else value)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value
