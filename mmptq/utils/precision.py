"""Full float32 precision on a GPU."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Within this context a GPU multiplies float32 in float32, and not in TF32.

    TF32 keeps 10 bits of the mantissa, fewer than a 16-bit layer input has. The settings of the
    user are back at the end. On a CPU it changes nothing.
    """
    backends = torch.backends
    with ExitStack() as stack:
        for legacy, parts in (
            (backends.cuda.matmul, [backends.cuda.matmul]),
            (backends.cudnn, [getattr(backends.cudnn, name, None) for name in ('conv', 'rnn')]),
        ):
            try:
                stack.enter_context(_set(legacy, 'allow_tf32', False))
            except RuntimeError:  # torch refuses it where fp32_precision was set
                for part in filter(None, parts):
                    stack.enter_context(_set(part, 'fp32_precision', 'ieee'))
        yield


@contextmanager
def _set(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
