"""Rows of sparse tensors, told apart by their coordinates."""

from typing import Any

import torch
from torch import Tensor

from .errors import QuantizationError
from .trees import SparseSlot, flatten, unflatten


class RowsDifferError(QuantizationError):
    """Two tensors that are compared row by row have rows of different things."""


def row_order(indices: Tensor, reference: Tensor) -> Tensor | None:
    """The order that brings rows into that of others: ``indices[order] == reference``.

    Args:
        indices (Tensor): (N, D) coordinates, every row once.
        reference (Tensor): (N, D) coordinates.

    Returns:
        Tensor or None: (N,) int64; None where they are in this order already.

    Raises:
        RowsDifferError: If they are not the same set of rows.
    """
    if indices.shape == reference.shape:
        if torch.equal(indices, reference):
            return None
        first, second = _sorting(indices), _sorting(reference)
        if torch.equal(indices[first], reference[second]):
            order = torch.empty_like(first)
            order[second] = first
            return order
    raise RowsDifferError(
        f'sparse tensors with {len(indices)} and {len(reference)} active sites hold different sites'
    )


def _sorting(indices: Tensor) -> Tensor:
    """(N,) positions that sort rows by their columns, the first one first."""
    order = torch.arange(len(indices), device=indices.device)
    for column in reversed(range(indices.shape[1])):
        order = order[torch.sort(indices[order, column], stable=True).indices]
    return order


def order_varies(indices: Tensor) -> bool:
    """Whether rows may come in another order in the next run."""
    return indices.device.type != 'cpu'


def in_site_order(tree: Any, values: list[Tensor | None]) -> list[Tensor | None]:
    """Values for the tensors of a tree, with rows of sparse tensors sorted by their coordinates.

    Where rows come in the same order in every run (on a CPU), nothing moves.

    Args:
        tree (Any): Nested tensors and sparse tensors.
        values (list): One tensor (or None) per tensor of ``flatten(tree)``.
    """
    return [
        x if order is None or x is None else x[order]
        for x, order in zip(values, _site_orders(tree), strict=True)
    ]


def from_site_order(tree: Any, values: list[Any]) -> list[Any]:
    """Inverse of ``in_site_order``; values that are no tensors stay as they are."""
    return [
        x
        if order is None or not isinstance(x, Tensor)
        else torch.empty_like(x).index_copy(0, order, x)
        for x, order in zip(values, _site_orders(tree), strict=True)
    ]


def _site_orders(tree: Any) -> list[Tensor | None]:
    tensors, structure = flatten(tree)
    orders: list[Tensor | None] = [None] * len(tensors)
    for slot in sparse_slots(structure):
        if order_varies(tensors[slot.indices]):
            orders[slot.features] = _sorting(tensors[slot.indices])
    return orders


def align_rows(tree: Any, reference: Any, *others: Any) -> tuple[Any, ...]:
    """Bring the rows of all sparse tensors into the order of those at the same places.

    On a GPU the rows of a strided sparse convolution come in another order in every run
    (https://github.com/traveller59/spconv/issues/568).

    Args:
        tree (Any): Nested tensors and sparse tensors.
        reference (Any): The same structure; gives the order.
        *others (Any): Lists of one tensor (or None) per tensor of ``tree``, reordered with it.

    Returns:
        tuple: ``tree`` and ``others``; the same objects where nothing had to move.

    Raises:
        RowsDifferError: If sites differ.
    """
    tensors, structure = flatten(tree)
    targets, target_structure = flatten(reference)
    slots = zip(sparse_slots(structure), sparse_slots(target_structure), strict=True)
    orders = {}
    for slot, target in slots:
        order = row_order(tensors[slot.indices], targets[target.indices])
        if order is not None:
            orders[slot.features] = orders[slot.indices] = order
    if not orders:
        return (tree, *others)

    def moved(values: list[Tensor | None]) -> list[Tensor | None]:
        return [x[orders[i]] if i in orders and x is not None else x for i, x in enumerate(values)]

    return (unflatten(structure, moved(tensors)), *(moved(values) for values in others))


def sparse_slots(structure: Any) -> list[SparseSlot]:
    """The sparse tensors in a structure of ``flatten``, in order."""
    if isinstance(structure, SparseSlot):
        return [structure]
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [slot for part in structure for slot in sparse_slots(part)]
    return []
