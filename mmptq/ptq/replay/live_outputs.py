"""Finding the outputs of modules that are read later."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import nn

from mmptq.utils.eager_mode import EagerMode
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import tensors_in

from .call_trace import CallId
from .override_calls import override_calls


class _ReadTracker(EagerMode):
    """Notes which tensors any operator reads."""

    def __init__(self):
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.note((args, kwargs))
        return func(*args, **(kwargs or {}))

    def note(self, data: Any) -> None:
        """Count all tensors in nested data as read."""
        self.seen.update(id(x) for x in tensors_in(data))


def live_outputs(
    model: nn.Module,
    run: Callable[[], Any],
    outputs: dict[CallId, Any],
    inside: dict[CallId, Counter],
    pending: set[nn.Module],
) -> set[CallId]:
    """The calls with outputs that are read while these calls are replayed.

    Arguments of operators and of modules that run are read, and so is the result of ``run``.
    Arguments of a replayed module count if a pending layer is inside, because it will run later.

    Args:
        model (nn.Module): The model.
        run (Callable): Runs the model.
        outputs (dict[CallId, Any]): Outputs of the calls; may be changed in place.
        inside (dict[CallId, Counter]): See ``override_calls``.
        pending (set[nn.Module]): Layers that are processed later.
    """
    tracker = _ReadTracker()

    def replay(key: CallId, args: Any) -> Any:
        if not pending.isdisjoint(key[0].modules()):
            tracker.note(args)
        return outputs[key]

    def enter(module, args, kwargs):
        tracker.note((args, kwargs))

    replayed = {module for module, _ in outputs}
    running = [module for module in model.modules() if module not in replayed]
    ids = {key: {id(x) for x in tensors_in(output)} for key, output in outputs.items()}
    with (
        temporary_hooks(dict.fromkeys(running, enter), with_kwargs=True),
        override_calls(outputs.keys(), replay, inside),
        tracker,
    ):
        result = run()
    tracker.note(result)
    return {key for key in outputs if not tracker.seen.isdisjoint(ids[key])}
