"""Convolutions that compute with channels last, where that changes nothing but the time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmptq.quantization import quantizers_off

from .trees import agree, flatten


@contextmanager
def channels_last(model: nn.Module, run: Callable[[], Any]) -> Iterator[bool]:
    """Within this context the dense convolutions of a model on a CPU keep channels last in memory.

    Maps follow the weights, without any copy. The gradient of a convolution that has a stride or
    few channels then takes a sixth to a half of the time. Code that cannot take such maps shows
    when the model runs; operators of mmcv may take them for what they are not on the way back,
    so that models with one of them stay as they are.

    Args:
        model (nn.Module): The detector.
        run (Callable): Runs it on a sample, to see whether it gives the same.

    Yields:
        bool: Whether it does, and channels are last.
    """
    convs = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    suited = all(m.weight.device.type == 'cpu' for m in convs) and not _has_own_operators(model)
    if not (convs and suited):
        yield False
        return
    before = _float_outputs(model, run)
    _convert(convs, torch.channels_last)
    try:
        same = agree(before, _float_outputs(model, run))
    except RuntimeError:  # a view of a map, for one
        same = False
    if not same:
        _convert(convs, torch.contiguous_format)
        MMLogger.get_current_instance().info('channels stay first: the model needs them there')
    try:
        yield same
    finally:
        _convert(convs, torch.contiguous_format)


def _has_own_operators(model: nn.Module) -> bool:
    bases = {base for module in model.modules() for base in type(module).__mro__}
    return any(base.__module__.startswith('mmcv.ops') for base in bases)


@torch.no_grad()
def _float_outputs(model: nn.Module, run: Callable[[], Any]) -> list[torch.Tensor]:
    with quantizers_off(model):
        return [x for x in flatten(run())[0] if x.is_floating_point()]


def _convert(convs: list[nn.Module], memory_format: torch.memory_format) -> None:
    for conv in convs:
        conv.weight.data = conv.weight.data.contiguous(memory_format=memory_format)
