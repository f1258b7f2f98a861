"""Nested data of tensors: what modules take and give, taken apart and put together again."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from .errors import QuantizationError


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


def tensors_in(data: Any) -> Iterator[Tensor]:
    """All tensors in nested data, in a fixed order.

    Args:
        data (Any): Tuples, lists, dicts, dataclasses, OpenMMLab's data samples and attributes of
            other objects, nested in any way; of a sparse tensor only the features count.
    """
    yield from _tensors_in(data, set())


def _tensors_in(data: Any, around: set[int]) -> Iterator[Tensor]:
    if isinstance(data, Tensor):
        yield data
    elif not isinstance(data, dict) and isinstance(getattr(data, 'features', None), Tensor):
        yield data.features
    elif id(data) not in around:  # an object may hold itself
        inside = around | {id(data)}
        for part in _parts(data):
            yield from _tensors_in(part, inside)


def _parts(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return list(data.values())
    if isinstance(data, (list, tuple)):
        return list(data)
    if _is_dataclass(data):
        return [getattr(data, field.name) for field in fields(data)]
    if hasattr(data, 'all_values'):  # data samples and instances of mmengine
        return list(data.all_values())
    if isinstance(data, (type, nn.Module)) or callable(data):
        return []
    return list(getattr(data, '__dict__', {}).values())


def _is_dataclass(data: Any) -> bool:
    return is_dataclass(data) and not isinstance(data, type)


def flatten(tree: Any) -> tuple[list[Tensor], Any]:
    """All tensors of nested tuples, lists, dicts, dataclasses and sparse tensors; the structure.

    Returns:
        tuple: The tensors in a fixed order; the structure, in which all values other than
        tensors are kept.
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
    return rebuild(tree, lambda part: _take(part, tensors))


def unflatten(structure: Any, tensors: list[Tensor]) -> Any:
    """Inverse of ``flatten``."""
    if isinstance(structure, TensorSlot):
        return tensors[structure.index]
    if isinstance(structure, SparseSlot):
        features, indices = tensors[structure.features], tensors[structure.indices]
        shape = list(structure.spatial_shape)
        return structure.cls(features, indices, shape, structure.batch_size)
    return rebuild(structure, lambda part: unflatten(part, tensors))


def rebuild(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A container of the same class with ``function(part)`` for each part; others as they are."""
    if type(tree) is dict:
        return {key: function(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, '_fields'):
        return type(tree)(*map(function, tree))
    if type(tree) in (list, tuple):
        return type(tree)(map(function, tree))
    if isinstance(tree, dict):  # of a class of its own, whose attributes may be its items
        result = copy.copy(tree)
        for key, value in tree.items():
            result[key] = function(value)
        return result
    if _is_dataclass(tree):
        result = copy.copy(tree)
        for field in fields(tree):
            object.__setattr__(result, field.name, function(getattr(tree, field.name)))
        return result
    return tree


def paths(tree: Any) -> list[tuple]:
    """The keys that lead to each tensor, in the order of ``flatten``.

    Returns:
        list[tuple]: Indices and keys of dicts from the outside in; () for a tree that is a tensor.
        A sparse tensor has two entries, ``features`` and ``indices``.
    """
    if isinstance(tree, Tensor):
        return [()]
    if is_sparse(tree):
        return [('features',), ('indices',)]
    if isinstance(tree, dict):
        items = tree.items()
    elif type(tree) in (list, tuple) or (isinstance(tree, tuple) and hasattr(tree, '_fields')):
        items = enumerate(tree)
    elif _is_dataclass(tree):
        items = [(field.name, getattr(tree, field.name)) for field in fields(tree)]
    else:
        return []
    return [(key, *rest) for key, value in items for rest in paths(value)]


def map_tensors(function: Callable[..., Tensor], tree: Any, *others: Any) -> Any:
    """Apply a function to the tensors at the same place of trees of the same structure."""
    tensors, structure = flatten(tree)
    rest = [flatten(other)[0] for other in others]
    return unflatten(structure, [function(*group) for group in zip(tensors, *rest, strict=True)])


def copy_tensors(tree: Any) -> Any:
    """Detached copies of all tensors, safe from what later modules do in place."""
    return map_tensors(lambda x: x.detach().clone(), tree)


def clone_tensors(tree: Any) -> Any:
    """Clones of all tensors; gradients pass through."""
    return map_tensors(Tensor.clone, tree)


def to_json(structure: Any) -> Any:
    """A structure of ``flatten`` as plain data that a file can hold.

    Returns:
        Any: An index for a tensor, ``{'tuple': [...]}``, ``{'list': [...]}``,
        ``{'dict': {...}}``, None for None.

    Raises:
        QuantizationError: If it holds anything else than tensors and None.
    """
    if structure is None:
        return None
    if isinstance(structure, TensorSlot):
        return structure.index
    if isinstance(structure, dict):
        return {'dict': {key: to_json(value) for key, value in structure.items()}}
    if isinstance(structure, (list, tuple)):
        kind = 'list' if isinstance(structure, list) else 'tuple'
        return {kind: [to_json(value) for value in structure]}
    kind = structure.cls if isinstance(structure, SparseSlot) else type(structure)
    raise QuantizationError(
        f'the head returns a {kind.__name__}, which a file cannot hold: return tensors in tuples, '
        'lists or dicts'
    )


def from_json(structure: Any) -> Any:
    """Inverse of ``to_json``."""
    if structure is None:
        return None
    if isinstance(structure, int):
        return TensorSlot(structure)
    ((kind, inner),) = structure.items()
    if kind == 'dict':
        return {key: from_json(value) for key, value in inner.items()}
    items = [from_json(value) for value in inner]
    return items if kind == 'list' else tuple(items)


def to_plain(data: Any) -> Any:
    """Copy of nested data in which everything is a plain Python type.

    Tuples become lists, arrays and tensors nested lists of numbers, keys and objects of any other
    type strings.
    """
    if isinstance(data, dict):
        return {str(key): to_plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [to_plain(value) for value in data]
    if hasattr(data, 'tolist'):
        return data.tolist()
    return data if isinstance(data, (str, int, float, bool, type(None))) else str(data)
