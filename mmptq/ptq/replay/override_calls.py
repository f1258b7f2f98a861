"""Calls of modules that return something else than what the modules compute."""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

from torch import nn

from .call_trace import CallCounter, CallId


@contextmanager
def override_calls(
    keys: Set[CallId],
    output_of: Callable[[CallId, Any], Any],
    inside: dict[CallId, Counter],
    watched: Set[CallId] = frozenset(),
    keep: Callable[[CallId, Any], None] = lambda key, output: None,
) -> Iterator[None]:
    """Within this context, for one forward, some calls do not run their modules.

    Args:
        keys (set[CallId]): The calls.
        output_of (Callable): Takes a key and the arguments (args, kwargs) of the call, and gives
            what the call returns.
        inside (dict[CallId, Counter]): How often modules would have been called inside of each of
            ``keys``.
        watched (set[CallId]): More calls of interest.
        keep (Callable): Is told the outputs of all calls of the modules in ``watched``.
    """
    counter = CallCounter()

    def override(module: nn.Module) -> None:
        forward = module.forward

        def replay(*args, **kwargs):
            key = counter.next(module)
            if key in keys:
                counter.skip(inside[key])
                output = output_of(key, (args, kwargs))
            else:
                output = forward(*args, **kwargs)
            keep(key, output)
            return output

        module.forward = replay

    modules = {module for module, _ in keys | watched}
    before = {module: module.__dict__.get('forward') for module in modules}
    for module in modules:
        override(module)
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                module.forward = forward
