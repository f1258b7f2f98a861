"""What training checkpoints of mmengine hold besides tensors, for ``weights_only=True``."""

from collections.abc import Callable
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

_METHODS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}
_NUMBER_CODES = '?bhilqBHILQefd'


def register_safe_globals() -> Callable[[], None]:
    """Let ``torch.load(..., weights_only=True)`` read the training checkpoints of mmengine.

    Their message hub holds ``HistoryBuffer``, numpy arrays and numpy scalars, and a one-cycle
    schedule refers to its own class. These are named one by one; everything else in a file is
    still refused.

    Returns:
        Callable: Undoes it.
    """
    before = torch.serialization.get_safe_globals()
    reconstruct_array = np.zeros(0).__reduce__()[0]
    reconstruct_scalar = np.float64(0).__reduce__()[0]
    added = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in _NUMBER_CODES},
        # numpy 1 and 2 write these functions under different names.
        *_under_names(reconstruct_array, '_reconstruct'),
        *_under_names(reconstruct_scalar, 'scalar'),
        OneCycleParamScheduler,
        # Both refer to their methods through getattr, which would be too much.
        (_known_method, 'builtins.getattr'),
    ]
    torch.serialization.add_safe_globals(added)

    def put_back() -> None:
        found = torch.serialization.get_safe_globals()
        # What others have named since then stays.
        kept = [entry for entry in found if entry in before or entry not in added]
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(kept)

    return put_back


def _under_names(function: Callable, name: str) -> list[tuple[Callable, str]]:
    modules = ('numpy.core.multiarray', 'numpy._core.multiarray')
    return [(function, f'{module}.{name}') for module in modules]


def _known_method(owner: type, name: str) -> Callable:
    """Stands in for getattr in checkpoints: yields nothing but the methods named here."""
    if owner not in _METHODS or name not in _METHODS[owner]:
        raise UnpicklingError(f'the file asks for attribute {name!r} of {owner!r}: not loaded')
    return getattr(owner, name)
