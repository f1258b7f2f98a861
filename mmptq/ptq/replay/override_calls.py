"""Calls of modules that return recorded outputs instead of running."""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

from torch import nn

from mmptq.utils.hooks import replaced_forwards

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
        keep (Callable): Gets the outputs of all calls of the modules in ``watched``.
    """
    counter = CallCounter()

    def overriding(module: nn.Module) -> Callable[..., Any]:
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

        return replay

    modules = {module for module, _ in keys | watched}
    with replaced_forwards({module: overriding(module) for module in modules}):
        yield
