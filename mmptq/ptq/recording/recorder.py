"""Recording inputs and outputs of a module while the model runs."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.stop_forward import StopForward
from mmptq.utils.trees import copy_tensors


@dataclass
class Call:
    """One call of a module.

    Attributes:
        args (tuple): Positional arguments.
        kwargs (dict): Keyword arguments.
        output (Any): Its result; None if that was not recorded.
    """

    args: tuple
    kwargs: dict[str, Any]
    output: Any = None


@torch.no_grad()
def record_calls(
    module: nn.Module, run: Callable[[], Any], num_calls: int, outputs: bool = True
) -> list[Call]:
    """Copies of the arguments, and optionally of the outputs, of the first calls of a module.

    Arguments are copied before the module runs and outputs before anything after it does, so that
    in-place operations leave the record alone.

    Args:
        module (nn.Module): A part of the model that ``run`` runs.
        run (Callable): Runs the model.
        num_calls (int): How often the module is called; nothing runs after the last call.
        outputs (bool): Whether outputs are wanted. If not, the last call itself does not run.

    Returns:
        list[Call]: In order; fewer than ``num_calls`` if the module was called less often.
    """
    calls: list[Call] = []

    def before(_, args, kwargs):
        calls.append(Call(copy_tensors(args), copy_tensors(kwargs)))
        if not outputs and len(calls) == num_calls:
            raise StopForward

    def after(_, args, output):
        if outputs:
            calls[-1].output = copy_tensors(output)
        if len(calls) == num_calls:
            raise StopForward

    with (
        contextlib.suppress(StopForward),
        temporary_hooks({module: before}, {module: after}, with_kwargs=True),
    ):
        run()
    return calls
