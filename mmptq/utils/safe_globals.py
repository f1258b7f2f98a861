"""What training checkpoints of mmengine hold besides tensors, for ``weights_only=True``."""

from collections.abc import Callable
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ('min', 'max', 'current', 'mean')
_NUMBER_CODES = '?bhilqBHILQefd'


def register_safe_globals() -> None:
    """Lets ``torch.load(..., weights_only=True)`` read the training checkpoints of mmengine.

    Their message hub holds ``HistoryBuffer``, numpy arrays and numpy scalars. These are named one
    by one; everything else in a file is still refused.
    """
    reconstruct_array = np.zeros(0).__reduce__()[0]
    reconstruct_scalar = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            *{type(np.dtype(code)) for code in _NUMBER_CODES},
            # numpy 1 and 2 write these functions under different names.
            *_under_names(reconstruct_array, '_reconstruct'),
            *_under_names(reconstruct_scalar, 'scalar'),
            # A HistoryBuffer refers to its methods through getattr, which would be too much.
            (_history_statistic, 'builtins.getattr'),
        ]
    )


def _under_names(function: Callable, name: str) -> list[tuple[Callable, str]]:
    modules = ('numpy.core.multiarray', 'numpy._core.multiarray')
    return [(function, f'{module}.{name}') for module in modules]


def _history_statistic(owner: type, name: str) -> Callable:
    """Stands in for getattr in checkpoints: yields nothing but the statistics of HistoryBuffer."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise UnpicklingError(f'the file asks for attribute {name!r} of {owner!r}: not loaded')
    return getattr(owner, name)
