"""Raw outputs of a head as named tensors."""

from collections.abc import Iterable

from torch import Tensor

from mmptq.quantization import QuantizationError


def group_by_head(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of parts by name of the head: ``cls.0`` and ``cls.1`` belong to ``cls``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        stem, _, last = name.rpartition('.')
        groups.setdefault(stem if stem and last.isdigit() else name, []).append(name)
    return groups


def check_parts(parts: dict[str, Tensor], known: dict[str, Tensor]) -> None:
    """Refuse parts that raw outputs do not have.

    Args:
        parts (dict[str, Tensor]): Replacements by name.
        known (dict[str, Tensor]): The parts that exist.

    Raises:
        QuantizationError: For an unknown name, or a tensor of another shape.
    """
    for name, tensor in parts.items():
        if name not in known:
            raise QuantizationError(
                f"the head has no output '{name}': use one of {', '.join(known)}"
            )
        if tensor.shape != known[name].shape:
            raise QuantizationError(
                f"the output '{name}' of the head has shape {tuple(known[name].shape)}, and its "
                f'replacement {tuple(tensor.shape)}: give a tensor of the same shape'
            )
