"""Observers in a run: errors that name the layer, and several processes."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from mmptq.ptq import parallel
from mmptq.quantization import QuantizationError


def observe(observer: Any, x: Tensor, name: str, what: str) -> None:
    """``observer.update(x)``, whose error names the layer.

    Args:
        observer (Observer): Of the tensor.
        x (Tensor): Its values.
        name (str): Of the layer.
        what (str): 'weight' or 'input'.
    """
    try:
        observer.update(x)
    except QuantizationError as error:
        raise QuantizationError(
            f"the {what} of '{name}': {error}, or keep the layer float with --float '{name}'"
        ) from error


def merge_observers(observers: Iterable[Any]) -> None:
    """Add to each observer what its counterparts in other processes saw."""
    observers = list(observers)
    for states in parallel.from_others(lambda: [observer.state() for observer in observers]):
        for observer, state in zip(observers, states, strict=True):
            observer.merge([state])
