"""Makes spconv 2 right on a CPU; importing this module, or mmptq, is enough.

Two things are wrong there. With more than one thread the strided convolutions of spconv 2.3.8 race:
outputs differ from run to run by as much as they are large. And its backward pass, which computes
right gradients, first asks CUDA for the current stream, also for CPU tensors, and that call fails
where there is no GPU. Tensors on a GPU are not affected.

A float model that trains on spconv without a quantizer names it in its config:
``custom_imports = dict(imports=['mmptq.utils.spconv_cpu'])``.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_MARK = '_mmptq_one_thread'


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this context torch, and spconv with it, computes on a single CPU thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _on_one_thread(function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(features: torch.Tensor, *args, **kwargs):
        if features.is_cuda:
            return function(features, *args, **kwargs)
        with one_thread():
            return function(features, *args, **kwargs)

    setattr(wrapped, _MARK, True)
    return wrapped


def _no_stream() -> int:
    """Stands in for the current CUDA stream; 0 is what spconv itself passes on a CPU."""
    return 0


def fix_spconv_on_cpu() -> bool:
    """Makes convolutions of CPU tensors right and, where there is no GPU, lets them train.

    Safe to call several times.

    Returns:
        bool: Whether spconv is there and fixed.
    """
    try:
        import spconv.pytorch.ops as ops
    except ImportError:
        return False
    for name in ('indice_conv', 'indice_conv_backward'):
        function = getattr(ops, name)
        if not hasattr(function, _MARK):
            setattr(ops, name, _on_one_thread(function))
    if not torch.cuda.is_available() and hasattr(ops, 'get_current_stream'):
        ops.get_current_stream = _no_stream
    return True


fix_spconv_on_cpu()
