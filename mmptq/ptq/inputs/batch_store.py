"""Calibration batches from any iterable, the same ones on every pass."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.quantization import QuantizationError
from mmptq.utils.trees import flatten, unflatten

from .model_inputs import check_finite, is_detector, sample_name

CACHE_BUDGET = 4 * 2**30
FORMS = (
    'a tensor, a tuple or list (positional arguments) or a dict (keyword arguments) that the '
    "model's forward takes"
)


class BatchStore:
    """Reads an iterable once and gives copies of its batches as often as they are asked for.

    A list is kept as it is. Of anything else (a data loader, a generator) every batch is kept,
    since a second pass may have another order, or none at all.

    Args:
        batches (Iterable): The batches; see ``mmptq.quantize``.
        model (nn.Module): That takes them.
        directory (Path): For the file that is made where memory is not enough.
        cache_budget (int): Bytes of memory for batches. Defaults to 4 GiB.

    Raises:
        QuantizationError: If there is no batch, or one is of the wrong type, empty or not finite.

    Example:
        >>> with BatchStore((x for x in images), model, work_dir / 'batches') as batches:
        ...     len(batches)
    """

    def __init__(
        self,
        batches: Iterable[Any],
        model: nn.Module,
        directory: str | Path,
        cache_budget: int = CACHE_BUDGET,
    ):
        if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
            raise QuantizationError(
                f'batches is a {type(batches).__name__}, which gives samples without a batch axis: '
                'pass torch.utils.data.DataLoader(dataset, batch_size=1)'
            )
        if isinstance(batches, (Tensor, Mapping, str)) or not isinstance(batches, Iterable):
            raise QuantizationError(
                f'batches is a {type(batches).__name__}: give an iterable of batches, such as a '
                'data loader or the list [batch]'
            )
        self._cache = ActivationCache(cache_budget, directory)
        self._batches = batches if isinstance(batches, (list, tuple)) else self._cache
        count = 0
        for count, batch in enumerate(batches, 1):
            _check(batch, count - 1, model)
            if self._batches is self._cache:
                self._cache.append(batch, exact=True)
        if not count:
            raise QuantizationError('batches is empty: give at least one calibration batch')

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Any:
        tensors, structure = flatten(self._batches[index])
        # Whatever a model does to its inputs and data samples, the next pass sees the batch.
        return unflatten(copy.deepcopy(structure), [x.detach().clone() for x in tensors])

    def __enter__(self) -> 'BatchStore':
        return self

    def __exit__(self, *_) -> None:
        self._cache.close()


def _check(batch: Any, index: int, model: nn.Module) -> None:
    name = f'batch {index}'
    if is_detector(model):
        if not isinstance(batch, dict) or 'inputs' not in batch:
            raise QuantizationError(
                f'{name} is a {type(batch).__name__}: {type(model).__name__} takes what its data '
                "loader yields, a dict with 'inputs' and 'data_samples'"
            )
        tensors, file = batch['inputs'], sample_name(batch)
        name += f' ({file})' if file.startswith("'") else ''
    elif isinstance(batch, (Tensor, tuple, list, Mapping)):
        tensors = batch
    else:
        raise QuantizationError(f'{name} is a {type(batch).__name__}: give {FORMS}')
    check_finite(tensors, name, 'the batches')
