"""Makes spconv 2 right on a CPU; importing this module, or mmptq, is enough.

Two things are wrong there. With more than one thread the strided convolutions of spconv 2.3.8 race:
outputs differ from run to run by as much as they are large. And its backward pass, which computes
right gradients, first asks CUDA for the current stream, also for CPU tensors, and that call fails
where there is no GPU. Tensors on a GPU are not affected.

A float model that trains on spconv without a quantizer names it in its config:
``custom_imports = dict(imports=['mmptq.compat.spconv_cpu'])``.
"""

import functools
import hashlib
from collections import OrderedDict
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


@contextmanager
def remembered_pairs(budget_bytes: int = 2**29) -> Iterator[None]:
    """Within this context spconv remembers, on a CPU, which sites its convolutions join.

    Looking for these pairs takes more than a third of the forward of a voxel encoder. They depend
    on the places of the active sites alone, so that layers at the same resolution share them, and
    all passes of the same scan.

    Args:
        budget_bytes (int): Memory for pairs; those that were used longest ago are forgotten.
            Defaults to 512 MiB.
    """
    try:
        import spconv.pytorch.ops as ops
    except ImportError:
        yield
        return
    search, memory, used = ops.get_indice_pairs, OrderedDict(), 0

    def remembered(indices: torch.Tensor, *args, **kwargs) -> tuple:
        nonlocal used
        if indices.is_cuda:
            return search(indices, *args, **kwargs)
        places = hashlib.blake2b(indices.contiguous().numpy().data).digest()
        key = places, str(args), str(kwargs)
        if key not in memory:
            memory[key] = search(indices, *args, **kwargs)
            used += _num_bytes(memory[key])
        memory.move_to_end(key)
        found = memory[key]
        while used > budget_bytes and memory:
            used -= _num_bytes(memory.popitem(last=False)[1])
        return found

    ops.get_indice_pairs = remembered
    try:
        yield
    finally:
        ops.get_indice_pairs = search


def _num_bytes(tensors: tuple[torch.Tensor, ...]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


fix_spconv_on_cpu()
