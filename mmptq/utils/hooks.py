"""Changes of modules that last for one block of code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

Hooks = Mapping[nn.Module, Callable[..., Any]]


@contextmanager
def temporary_hooks(
    before: Hooks | None = None, after: Hooks | None = None, with_kwargs: bool = False
) -> Iterator[None]:
    """Within this context modules have these forward hooks; all of them go at its end.

    A scripted module is passed over: torch gives it no hooks while it runs.

    Args:
        before (Mapping[nn.Module, Callable], optional): Forward pre-hooks by module:
            ``hook(module, args)``.
        after (Mapping[nn.Module, Callable], optional): Forward hooks by module:
            ``hook(module, args, output)``.
        with_kwargs (bool): Whether the hooks in ``before`` also take the keyword arguments:
            ``hook(module, args, kwargs)``. Defaults to False.

    Example:
        >>> with temporary_hooks(after=dict.fromkeys(model.modules(), note)):
        ...     model(x)
    """
    with ExitStack() as stack:
        for module, hook in _hookable(before):
            handle = module.register_forward_pre_hook(hook, with_kwargs=with_kwargs)
            stack.callback(handle.remove)
        for module, hook in _hookable(after):
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def _hookable(hooks: Hooks | None) -> list[tuple[nn.Module, Callable[..., Any]]]:
    scripted = torch.jit.RecursiveScriptModule
    return [item for item in (hooks or {}).items() if type(item[0]) is not scripted]


@contextmanager
def replaced_forwards(forwards: Hooks) -> Iterator[None]:
    """Within this context modules run these functions instead of their ``forward``.

    Hooks of the modules still run. A ``forward`` that was set on the module itself, and not on
    its class, is put back at the end.

    Args:
        forwards (Mapping[nn.Module, Callable]): What replaces ``forward``, by module; takes the
            arguments of the call.
    """
    previous = {module: module.__dict__.get('forward') for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in previous.items():
            module.__dict__.pop('forward', None)
            if forward is not None:
                module.forward = forward
