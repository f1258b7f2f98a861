"""Several processes that quantize one model: all that they say to each other.

Every process has the same model and runs the same stages. Calibration samples are dealt out one by
one (``shard``), what a process finds on its own is put together again (``gather``, ``sum_``,
``mean_gradients``), and every decision is made by all processes from the same numbers. In a run of
one process each function does nothing and gives back what it got.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size, is_distributed
from torch import Tensor, nn

from mmptq.utils.errors import QuantizationError
from mmptq.utils.seeds import STRIDE
from mmptq.utils.trees import flatten, map_tensors

T = TypeVar('T')

REMEDY = (
    'give all processes the same config, files and kind of machine; a stage or loss of your own '
    'has to combine what the processes find with mmptq.ptq.parallel'
)

# The group of the run, and one over gloo for objects, where that of the run is for CUDA tensors.
_groups: tuple[Any, Any] = (None, None)


def is_main() -> bool:
    """Whether this process writes files and shows progress."""
    return get_rank() == 0


def shard(items: Sequence[T]) -> list[T]:
    """Every n-th of the items for one of n processes; all of them for a single one."""
    return list(items[get_rank() :: get_world_size()])


def shard_indices(own: Sequence[int]) -> list[int]:
    """Places in the whole of some items, given their places in the shard of this process."""
    return [index * get_world_size() + get_rank() for index in own]


def gather(data: T) -> list[T]:
    """What each process has, in the order of the processes.

    Args:
        data (Any): Plain data and tensors, which come back on the CPU if there are other processes.
    """
    if not _several():
        return [data]
    everything: list[Any] = [None] * get_world_size()
    own = map_tensors(lambda x: x.detach().cpu(), data)
    dist.all_gather_object(everything, own, _object_group())
    return everything


def own_seed(seed: int) -> int:
    """A seed of this process, far from those of other processes and other streams."""
    return seed + get_rank() * STRIDE**2


def gather_shards(items: Sequence[T]) -> list[T]:
    """Inverse of ``shard``: one result per item of every process, in the order of the items."""
    parts = gather(list(items))
    longest = max(map(len, parts))
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def from_others(make: Callable[[], T]) -> list[T]:
    """What the other processes have; ``make`` makes what this one has, where it is asked for."""
    if not _several():
        return []
    everything = gather(make())
    del everything[get_rank()]
    return everything


def fair_shares(sizes: Sequence[float]) -> list[int]:
    """Indices of the pieces of work of this process; each piece is done by one.

    Args:
        sizes (Sequence[float]): How much work each piece is, in any unit.
    """
    loads, own = [0.0] * get_world_size(), []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        rank = loads.index(min(loads))
        loads[rank] += sizes[index]
        if rank == get_rank():
            own.append(index)
    return sorted(own)


def on_main(function: Callable[[], T]) -> T:
    """Run a function in the main process; its result, or its failure, is that of all processes.

    Args:
        function (Callable): Returns plain data, or tensors on the CPU.

    Raises:
        QuantizationError: Where the function raised one, or an OSError, in the main process.
    """
    if not _several():
        return function()
    result, failure = None, None
    if is_main():
        try:
            result = function()
        except (QuantizationError, OSError) as error:
            failure = error
    packed = [(result, failure and str(failure))]
    dist.broadcast_object_list(packed, 0, _object_group())
    if failure is not None:
        raise failure
    if packed[0][1] is not None:
        raise QuantizationError(packed[0][1])
    return packed[0][0]


def barrier() -> None:
    """Wait until all processes are here."""
    gather(None)


def agree(flag: bool) -> bool:
    """Whether it is true in all processes."""
    return all(gather(bool(flag)))


@torch.no_grad()
def sum_(*tensors: Tensor) -> None:
    """Add up tensors over the processes, in place.

    Args:
        *tensors (Tensor): On one device; of the same shapes in all processes.
    """
    if not _several():
        return
    for tensor in tensors:
        # A copy, because a view or a CPU tensor does not suit every backend.
        total = tensor.detach().to(_device_of_group(tensor.device), copy=True).contiguous()
        dist.all_reduce(total)
        tensor.copy_(total)


@torch.no_grad()
def mean_gradients(parameters: Sequence[Tensor], values: Sequence[float] = ()) -> list[float]:
    """Average gradients over the processes, in one message, in place.

    A process whose samples do not reach a parameter counts with a gradient of zero.

    Args:
        parameters (Sequence[Tensor]): The same ones in all processes.
        values (Sequence[float]): Numbers to be averaged, too.

    Returns:
        list[float]: The averages of ``values``.
    """
    if not _several():
        return list(values)
    if dist.get_backend() != 'gloo':
        # NCCL would wait for a process that is gone; gloo sees the closed connection.
        dist.all_reduce(torch.zeros(1, device='cpu'), group=_object_group())
    device = _device_of_group(parameters[0].device if parameters else torch.device('cpu'))
    parts = [torch.tensor(list(values), dtype=torch.float32, device=device)]
    for x in parameters:
        grad = torch.zeros_like(x) if x.grad is None else x.grad
        parts.append(grad.detach().flatten().to(device, torch.float32))
    flat = torch.cat(parts)
    dist.all_reduce(flat)
    flat.div_(get_world_size())
    mean, *grads = flat.split([part.numel() for part in parts])
    for x, grad in zip(parameters, grads, strict=True):
        x.grad = grad.view_as(x).to(x.device, x.dtype, copy=True)
    return mean.tolist()


def shares(counts: Sequence[int], batch_size: int, step: int) -> list[int]:
    """How many samples of a learning step each process takes.

    They take the same number; where that is not possible, those with one more take turns.

    Args:
        counts (Sequence[int]): Number of samples that each process has.
        batch_size (int): Number of samples of a step.
        step (int): Index of the step.

    Returns:
        list[int]: Never more than a process has; one at least of all together.
    """
    able = [rank for rank, count in enumerate(counts) if count]
    result = [0] * len(counts)
    for place, rank in enumerate(able):
        turn = (place - step * batch_size) % len(able)
        share = batch_size // len(able) + (turn < batch_size % len(able))
        result[rank] = min(counts[rank], share)
    return result


def check_same(data: Any, what: str, remedy: str = REMEDY) -> None:
    """Refuse to go on where the processes differ.

    Args:
        data (Any): Plain data and tensors, or a module, of which all weights and buffers count.
        what (str): What it is, in the plural.
        remedy (str): The end of the message.

    Raises:
        QuantizationError: In all processes, if one has other data.
    """
    if not _several():
        return
    found = gather(_checksum(data))
    others = [rank for rank, value in enumerate(found) if value != found[0]]
    if others:
        raise QuantizationError(f'process {others[0]} has other {what} than process 0: {remedy}')


def _checksum(data: Any) -> int:
    if isinstance(data, nn.Module):
        state = data.state_dict().items()
        data = {name: x for name, x in state if isinstance(x, Tensor)}
    tensors, structure = flatten(data)
    total = zlib.crc32(json.dumps(structure, sort_keys=True, default=str).encode())
    for x in tensors:
        content = x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        total = zlib.crc32(content.data, total)
    return total


def _several() -> bool:
    return get_world_size() > 1


def _device_of_group(device: torch.device) -> torch.device:
    """Where a tensor has to be for the group of the run."""
    if dist.get_backend() == 'gloo':
        return torch.device('cpu')
    return device if device.type != 'cpu' else torch.device('cuda', torch.cuda.current_device())


def _object_group() -> Any:
    """The group for plain data: gloo, so that no GPU is asked."""
    global _groups
    if not is_distributed() or dist.get_backend() == 'gloo':
        return None
    group = dist.distributed_c10d._get_default_group()
    if _groups[0] is not group:
        _groups = group, dist.new_group(backend='gloo')
    return _groups[1]
