"""Calls that torch's ONNX exporter writes wrongly, made so that it writes them rightly."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from mmptq.utils.attributes import replaced_attribute

LINSPACE = torch.linspace


@contextmanager
def exportable_calls(network: nn.Module) -> Iterator[None]:
    """Within this context some functions make their call in a form that can be exported.

    Args:
        network (nn.Module): What is exported.
    """
    files = {type(module).__module__ for module in network.modules()}
    with ExitStack() as stack:
        stack.enter_context(replaced_attribute(torch, 'linspace', _linspace))
        for name in sorted(files):
            for function, replacement in REPLACED.items():
                original = vars(sys.modules[name]).get(function)
                if original is not None:
                    new = replacement(original)
                    stack.enter_context(replaced_attribute(sys.modules[name], function, new))
        yield


def _linspace(start, end, steps, *, device=None, **kwargs) -> Tensor:
    """``torch.linspace``; as ONNX its step of a single value would be 0 / 0."""
    if int(steps) == 1:
        return torch.full((1,), float(start), device=device, **kwargs)
    return LINSPACE(start, end, steps, device=device, **kwargs)


def _with_numbers(function: Callable) -> Callable:
    """Numbers of groups that a head reads off a shape are tensors in a trace."""

    def call(*args):
        return function(*(int(x) if isinstance(x, Tensor) and not x.ndim else x for x in args))

    return call


def _mean_of_sigmoids(_: Callable) -> Callable:
    """mmdet's own function has a backward that it writes itself, and no ONNX operators."""
    return lambda x, y: (x.sigmoid() * y.sigmoid()).sqrt()


# Functions by the name under which the file of a module knows them.
REPLACED = {'deform_conv2d': _with_numbers, 'sigmoid_geometric_mean': _mean_of_sigmoids}
