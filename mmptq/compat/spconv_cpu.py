"""Makes spconv 2 right on a CPU; ``import mmptq`` applies it.

Two things are wrong there. With more than one thread the strided convolutions of spconv 2.3.8 race:
outputs differ from run to run by as much as they are large. And its backward pass, which computes
right gradients, first asks CUDA for the current stream, also for CPU tensors, and that call fails
where there is no GPU. Tensors on a GPU are not affected.
"""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from .patches import is_enabled, replace_attribute


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

    return wrapped


def _no_stream() -> int:
    """Stands in for the current CUDA stream; 0 is what spconv itself passes on a CPU."""
    return 0


def compute_on_one_thread() -> Callable[[], None] | None:
    """Let spconv convolve CPU tensors on one thread.

    Returns:
        Callable | None: Undoes it; None where spconv is not installed.
    """
    try:
        import spconv.pytorch.ops as ops
    except ImportError:
        return None
    names = ('indice_conv', 'indice_conv_backward')
    undo = [replace_attribute(ops, name, _on_one_thread(getattr(ops, name))) for name in names]

    def put_back() -> None:
        for function in undo:
            function()

    return put_back


def ask_for_no_stream() -> Callable[[], None] | None:
    """Let spconv's backward pass run where there is no GPU.

    Returns:
        Callable | None: Undoes it; None where spconv is not installed or CUDA works.
    """
    try:
        import spconv.pytorch.ops as ops
    except ImportError:
        return None
    if torch.cuda.is_available() or not hasattr(ops, 'get_current_stream'):
        return None
    return replace_attribute(ops, 'get_current_stream', _no_stream)


@contextmanager
def remembered_pairs(budget_bytes: int = 2**29) -> Iterator[None]:
    """Within this context spconv remembers, on a CPU, which sites its convolutions join.

    The search for these pairs takes more than a third of the forward of a voxel encoder. Pairs
    depend only on the positions of the active sites: layers at the same resolution share them, and
    so do all passes of the same scan.

    Args:
        budget_bytes (int): Memory for pairs; beyond it the least recently used ones are dropped.
            Defaults to 512 MiB.
    """
    try:
        import spconv.pytorch.ops as ops
    except ImportError:
        ops = None
    if ops is None or not is_enabled('spconv_remembered_pairs'):
        yield
        return
    search, memory, used = ops.get_indice_pairs, OrderedDict(), 0

    def remembered(indices: torch.Tensor, *args, **kwargs) -> tuple:
        nonlocal used
        if indices.is_cuda:
            return search(indices, *args, **kwargs)
        places = hashlib.blake2b(indices.cpu().contiguous().numpy().data).digest()
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
