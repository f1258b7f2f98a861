"""Nested data of tensors: what modules take and give, taken apart and put together again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class TensorSlot:
    """The place of a tensor in a structure.

    Attributes:
        index (int): Position in the list of tensors.
    """

    index: int


@dataclass(frozen=True)
class SparseSlot:
    """The place of a sparse tensor of spconv, without the index pairs that it has collected.

    Attributes:
        cls (type): SparseConvTensor.
        features (int): Position of the features in the list of tensors.
        indices (int): Position of the coordinates.
        spatial_shape (tuple[int]): Size of the grid.
        batch_size (int): Number of samples.
    """

    cls: type
    features: int
    indices: int
    spatial_shape: tuple[int, ...]
    batch_size: int


def is_sparse(data: Any) -> bool:
    """Whether this is a sparse tensor of spconv."""
    return type(data).__name__ == 'SparseConvTensor'


def flatten(tree: Any) -> tuple[list[Tensor], Any]:
    """All tensors of nested tuples, lists, dicts and sparse tensors, and the structure.

    Returns:
        tuple: The tensors in a fixed order; the structure, in which anything else than a tensor
        is kept as it is.
    """
    tensors: list[Tensor] = []
    return tensors, _take(tree, tensors)


def _take(tree: Any, tensors: list[Tensor]) -> Any:
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return TensorSlot(len(tensors) - 1)
    if is_sparse(tree):
        tensors += [tree.features, tree.indices]
        shape = tuple(int(size) for size in tree.spatial_shape)
        position = len(tensors) - 2
        return SparseSlot(type(tree), position, position + 1, shape, int(tree.batch_size))
    return _rebuild(tree, lambda part: _take(part, tensors))


def unflatten(structure: Any, tensors: list[Tensor]) -> Any:
    """Inverse of ``flatten``."""
    if isinstance(structure, TensorSlot):
        return tensors[structure.index]
    if isinstance(structure, SparseSlot):
        features, indices = tensors[structure.features], tensors[structure.indices]
        shape = list(structure.spatial_shape)
        return structure.cls(features, indices, shape, structure.batch_size)
    return _rebuild(structure, lambda part: unflatten(part, tensors))


def _rebuild(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {key: function(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, '_fields'):
        return type(tree)(*map(function, tree))
    if type(tree) in (list, tuple):
        return type(tree)(map(function, tree))
    return tree


def map_tensors(function: Callable[..., Tensor], tree: Any, *others: Any) -> Any:
    """Apply a function to the tensors at the same place of trees of the same structure."""
    tensors, structure = flatten(tree)
    rest = [flatten(other)[0] for other in others]
    return unflatten(structure, [function(*group) for group in zip(tensors, *rest, strict=True)])


def copy_tensors(tree: Any) -> Any:
    """Detached copies of all tensors, safe from what later modules do in place."""
    return map_tensors(lambda x: x.detach().clone(), tree)
