"""Recorded activations under a memory budget."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmptq.utils.errors import QuantizationError
from mmptq.utils.trees import flatten, tensors_in, unflatten

LARGEST_HALF = 65504.0
# Tensors on a GPU stay there up to this share of the budget; the rest of it is CPU memory.
DEVICE_SHARE = 0.5


@dataclass
class _Stored:
    """A tensor in memory, or its place in the cache's file.

    Attributes:
        dtype (torch.dtype): What it is given back as.
        tensor (Tensor, optional): The values, maybe in half precision.
        offset (int): Position in the file, in bytes, if ``tensor`` is None.
        saved (torch.dtype): What memory or file holds.
        shape (tuple[int]): Shape of the tensor.
        strides (tuple[int]): Its strides, which choose how a convolution computes.
        device (torch.device): Where it is given back.
        exact (bool): Whether it must not go to half precision.
    """

    dtype: torch.dtype
    tensor: Tensor | None
    offset: int
    saved: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: torch.device
    exact: bool


class ActivationCache:
    """A list of nested tensors that never takes more memory than its budget.

    Where an entry goes, in this order:

    1. to memory on its device; tensors on a GPU to half of the budget at most;
    2. to CPU memory, until the budget is used up;
    3. to memory in half precision, which all entries go to then, those before it too;
    4. to a memory-mapped file, in half precision.

    Exact entries skip the third place and are written to the file as they are. Entries come back on
    their device, as copies, which in-place operations may change, with the strides that they had.
    Tensors inside of data samples and dataclasses count, but stay where they are.

    Args:
        budget_bytes (int): Memory for tensors.
        directory (Path): Where the file is made if it is needed; removed by ``close``.

    Example:
        >>> cache = ActivationCache(4 * 2**30, work_dir / 'cache')
        >>> cache.append(dict(input=x, target=y))
        >>> cache[0]['target']
    """

    def __init__(self, budget_bytes: int, directory: str | Path):
        self.budget_bytes = budget_bytes
        self.directory = Path(directory)
        self.used_bytes = 0
        self.file_bytes = 0
        self.half = False
        self._device_bytes = 0  # of used_bytes, those that are not CPU memory
        self._held_bytes = 0  # and those of tensors that are not stored by this cache
        self._entries: list[tuple[list[_Stored], Any]] = []
        self._path: Path | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, tree: Any, exact: bool = False) -> None:
        """Add an entry: nested tuples, lists and dicts of tensors and sparse tensors.

        Args:
            tree (Any): The entry.
            exact (bool): Whether it keeps its precision beyond the budget. Defaults to False.

        Raises:
            QuantizationError: If the file cannot be written.
        """
        tensors, structure = flatten(tree)
        held = sum(_num_bytes(tensor) for tensor in tensors_in(structure))
        self._held_bytes += held
        self.used_bytes += held
        stored = [self._store(tensor.detach(), exact) for tensor in tensors]
        self._entries.append((stored, structure))

    def __getitem__(self, index: int) -> Any:
        stored, structure = self._entries[index]
        return unflatten(structure, [self._load(item) for item in stored])

    def __enter__(self) -> 'ActivationCache':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything and remove the file."""
        self._entries = []
        self.used_bytes = self.file_bytes = self._device_bytes = self._held_bytes = 0
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _store(self, tensor: Tensor, exact: bool) -> _Stored:
        too_large = self.used_bytes + _num_bytes(tensor) > self.budget_bytes
        if too_large and not (self.half or exact):
            self._go_half()
        saved = _to_half(tensor) if self.half and not exact else tensor
        shape, strides = tuple(tensor.shape), _dense_strides(saved)
        item = _Stored(tensor.dtype, None, 0, saved.dtype, shape, strides, tensor.device, exact)
        if self.used_bytes + _num_bytes(saved) > self.budget_bytes:
            item.offset = self._write(saved, strides)
            return item
        device = self._memory_for(saved)
        copied = saved is not tensor or device != saved.device
        item.tensor = saved.to(device) if copied else saved.clone()
        self._count(item.tensor)
        return item

    def _memory_for(self, tensor: Tensor) -> torch.device:
        """The device that has memory left for a tensor."""
        if tensor.device.type == 'cpu':
            return tensor.device
        full = self._device_bytes + _num_bytes(tensor) > DEVICE_SHARE * self.budget_bytes
        return torch.device('cpu') if full else tensor.device

    def _count(self, tensor: Tensor) -> None:
        self.used_bytes += _num_bytes(tensor)
        if tensor.device.type != 'cpu':
            self._device_bytes += _num_bytes(tensor)

    def _go_half(self) -> None:
        self.half = True
        self.used_bytes, self._device_bytes = self._held_bytes, 0
        for item in (item for stored, _ in self._entries for item in stored):
            if item.tensor is None:
                continue
            if not item.exact:
                item.tensor = _to_half(item.tensor)
                item.saved = item.tensor.dtype
            self._count(item.tensor)

    def _write(self, tensor: Tensor, strides: tuple[int, ...]) -> int:
        offset = self.file_bytes
        try:
            if self._path is None:
                self._path = self._make_file()
            with open(self._path, 'r+b') as file:
                file.seek(offset)
                file.write(_as_bytes(tensor, strides).numpy().data)
        except OSError as error:
            raise QuantizationError(
                f"the activation cache in '{self.directory}' cannot be written "
                f'({error.strerror or error}): free some space, choose another --work-dir, or '
                'raise cache_budget to keep more in memory'
            ) from error
        self.file_bytes += _num_bytes(tensor)
        return offset

    def _make_file(self) -> Path:
        """An empty file with a name that no other process has."""
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp('.bin', 'activations_', self.directory)
        os.close(handle)
        return Path(path)

    def _load(self, item: _Stored) -> Tensor:
        if item.tensor is not None:
            return item.tensor.to(item.device, item.dtype, copy=True)
        if 0 in item.shape:
            return torch.empty(item.shape, dtype=item.dtype, device=item.device)
        count = int(np.prod(item.shape)) * item.saved.itemsize
        values = np.memmap(self._path, np.uint8, 'r', item.offset, (count,))
        tensor = torch.from_numpy(np.array(values)).view(item.saved)
        return tensor.as_strided(item.shape, item.strides).to(item.device, item.dtype)


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _dense_strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides of a tensor that fills its memory, such as a channels-last one; else contiguous."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    if tensor.permute(order).is_contiguous():
        return tensor.stride()
    return torch.empty(tensor.shape, device='meta').stride()


def _as_bytes(tensor: Tensor, strides: tuple[int, ...]) -> Tensor:
    """All bytes of a tensor of any type, also of those that numpy does not have, in this order."""
    tensor = tensor.cpu()
    if tensor.stride() != strides:
        tensor = tensor.contiguous()
    flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    return flat.view(torch.uint8)


def _to_half(tensor: Tensor) -> Tensor:
    """Half precision, where the tensor is float32 and its values fit."""
    if tensor.dtype != torch.float32 or not tensor.numel():
        return tensor
    return tensor.half() if tensor.abs().max() <= LARGEST_HALF else tensor
