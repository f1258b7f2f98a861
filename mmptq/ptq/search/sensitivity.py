"""How much each layer or group costs when it alone is quantized, or when it alone stays float."""

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import track

from mmptq.quantization import FakeQuantizer, QuantMixin

T = TypeVar('T')
PARTS = ('weight', 'input')


def measure_sensitivity(
    groups: Mapping[str, Set[str]],
    loss: Callable[[Set[str]], T],
    all_but: Set[str] | None = None,
) -> dict[str, T]:
    """A loss for each group of layers.

    Args:
        groups (Mapping[str, set[str]]): Names of layers by group.
        loss (Callable): Takes the names of the layers that are quantized; all others compute in
            float. Gives a number, or several metrics.
        all_but (set[str], optional): All layers: quantizes them without those of a group. None
            quantizes those of a group alone.

    Returns:
        dict[str, T]: What ``loss`` gave, by group.
    """
    return {
        name: loss(members if all_but is None else all_but - members)
        for name, members in track(groups.items(), 'measure sensitivity')
    }


@contextmanager
def only_quantized(
    layers: Mapping[str, QuantMixin], names: Set[str], parts: tuple[str, ...] = PARTS
) -> Iterator[None]:
    """Within this context only these layers are quantized.

    Args:
        layers (Mapping[str, QuantMixin]): All quantized layers by name.
        names (set[str]): Those that stay quantized.
        parts (tuple[str]): 'weight', 'input' or both: what of these layers.
    """
    states = []
    for name, layer in layers.items():
        for part in PARTS:
            quantizer = getattr(layer, f'{part}_quantizer')
            if isinstance(quantizer, FakeQuantizer):
                states.append((quantizer, quantizer.enabled))
                quantizer.enabled = name in names and part in parts
    try:
        yield
    finally:
        for quantizer, enabled in states:
            quantizer.enabled = enabled
