"""Outputs of the float model on a sample, to be compared with those after a change."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.utils.agree import agree
from mmptq.utils.hooks import replaced_forwards, temporary_hooks
from mmptq.utils.messages import first_line
from mmptq.utils.sparse_rows import RowsDifferError, align_rows
from mmptq.utils.stop_forward import StopForward
from mmptq.utils.trees import flatten, is_sparse, tensors_in

# Called with the name of a module and its output; what it returns replaces the output.
Watch = Callable[[str, Any], Any]


class FloatOutputs:
    """Outputs of modules in the float model, and what the model returned, on one sample.

    The changed model is compared module by module, and each output is then replaced by the
    recorded one. So a difference belongs to the module that shows it, and later code (NMS, top-k)
    chooses what it chose in the float model.

    Args:
        model (nn.Module): In eval mode.
        run (Callable): Runs it on the sample.
        cache (ActivationCache): Keeps the outputs.
        seed (int): Of random choices that the model makes.
    """

    def __init__(self, model: nn.Module, run: Callable[[], Any], cache: ActivationCache, seed: int):
        self.model, self.run, self.cache, self.seed = model, run, cache, seed
        self.calls: dict[str, list[int]] = {}
        self.result: list[Tensor] = []

    def record(self, names: list[str]) -> None:
        """Record the outputs of the modules with these names."""
        self.calls = {name: [] for name in names}

        def keep(name: str, output: Any) -> None:
            self.calls[name].append(len(self.cache))
            self.cache.append(None if _is_nested(output) else output, exact=True)

        self.result = [x.clone() for x in self._run(keep)]

    def first_difference(self, hooks: bool = True) -> str | None:
        """What differs first from the record, as the object of a sentence; None if all agree.

        Args:
            hooks (bool): Whether modules have hooks meanwhile. Without, their ``forward`` is
                replaced, which hooks of others and fused paths may see in another way: that
                everything agrees means as much, and a difference means nothing. Defaults to True.
        """
        counts = dict.fromkeys(self.calls, 0)
        found: list[str] = []

        def compare(name: str, output: Any) -> Any:
            counts[name] += 1
            if counts[name] <= len(self.calls[name]):
                recorded = self.cache[self.calls[name][counts[name] - 1]]
                same, replacement = _compare(output, recorded)
                if same:
                    return replacement
            found.append(f"the output of '{name}'")
            raise StopForward

        result: list[Tensor] = []
        try:
            with suppress(StopForward):
                result = self._run(compare, hooks)
        except Exception as error:  # the model ran before the change
            return f'the model, which fails ({first_line(error)})'
        if found:
            return found[0]
        for name, count in counts.items():
            if count != len(self.calls[name]):
                return f"how often '{name}' runs"
        same = len(result) == len(self.result) and all(map(agree, self.result, result))
        return None if same else 'what the model returns'

    @torch.no_grad()
    def _run(self, watch: Watch, hooks: bool = True) -> list[Tensor]:
        modules = {self.model.get_submodule(name): name for name in self.calls}
        if hooks:
            watching = temporary_hooks(
                after={m: partial(_hook, watch, name) for m, name in modules.items()}
            )
        else:
            watching = replaced_forwards(
                {m: partial(_forward, watch, name, m.forward) for m, name in modules.items()}
            )
        devices = {p.device for p in self.model.parameters() if p.device.type != 'cpu'}
        with torch.random.fork_rng(list(devices)), watching:
            torch.manual_seed(self.seed)
            return list(tensors_in(self.run()))


def _hook(watch: Watch, name: str, module: nn.Module, args: Any, output: Any) -> Any:
    return watch(name, output)


def _forward(
    watch: Watch, name: str, forward: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    output = forward(*args, **kwargs)
    replacement = watch(name, output)
    return output if replacement is None else replacement


def _is_nested(output: Any) -> bool:
    """Whether this is a tensor of rows of several lengths, which cannot be compared."""
    return isinstance(output, Tensor) and output.is_nested


def _compare(output: Any, recorded: Any) -> tuple[bool, Any]:
    """Whether an output is the recorded one, and what replaces it."""
    if recorded is None or _is_nested(output):
        return recorded is None, None
    try:
        recorded = align_rows(recorded, output)[0]
    except (RowsDifferError, ValueError):
        return False, None
    first, second = flatten(recorded)[0], flatten(output)[0]
    if len(first) != len(second) or not all(map(agree, first, second)):
        return False, None
    if is_sparse(output):  # keeps the index pairs that later layers look up
        return True, output.replace_feature(recorded.features)
    return True, recorded if isinstance(output, Tensor) else None
