"""Gradients of a task loss at many modules, one backward per sample."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.sparse_rows import in_site_order
from mmptq.utils.trees import is_sparse, rebuild

from .backward import backward
from .fixed_parameters import fixed_parameters
from .teacher_outputs import TeacherOutputs

SIDES = ('input', 'output')


class Gradients:
    """Gradients by module, side, sample and call, kept under a memory budget.

    Beyond the budget they go to half precision, and then to a file. Each tensor is scaled by a
    power of two meanwhile, so that small gradients do not become zero.

    Args:
        budget_bytes (int): Memory.
        directory (str | Path): Folder of the file for gradients beyond the budget.

    Attributes:
        owners (dict[str, nn.Module]): The modules by name, where they are known; a layer says which
            axis has the channels.
    """

    def __init__(self, budget_bytes: int, directory: str | Path):
        self._cache = ActivationCache(budget_bytes, directory)
        self.owners: dict[str, nn.Module] = {}
        self._places: dict[tuple[str, str, int], list[int]] = {}
        self._samples: dict[tuple[str, str], list[int]] = {}

    def __enter__(self) -> 'Gradients':
        return self

    def __exit__(self, *_) -> None:
        self._cache.close()

    @property
    def used_bytes(self) -> int:
        """Memory that the gradients take."""
        return self._cache.used_bytes

    def append(
        self, name: str, sample: int, calls: list[list[Tensor | None]], side: str = 'output'
    ) -> None:
        """Add the gradients of a module on a sample: one list of tensors per call."""
        if (name, side, sample) not in self._places:
            self._samples.setdefault((name, side), []).append(sample)
        places = self._places.setdefault((name, side, sample), [])
        for tensors in calls:
            places.append(len(self._cache))
            self._cache.append([None if x is None else _scaled(x) for x in tensors])

    def of(self, name: str, sample: int, call: int, side: str = 'output') -> list[Tensor | None]:
        """Gradients at the tensors of one call; None where the loss does not depend on one.

        Args:
            name (str): The module.
            sample (int): Index of the sample.
            call (int): Index of the module's call.
            side (str): 'output' for its result, 'input' for its arguments. Tensors are in the
                order of ``mmptq.utils.trees.flatten``: of a sparse tensor first the features,
                then the indices, which have no gradient. On a GPU rows of features are sorted by
                their coordinates, see ``mmptq.utils.sparse_rows.in_site_order``.
        """
        stored = self._cache[self._places[name, side, sample][call]]
        return [None if x is None else x[0] * x[1] for x in stored]

    def num_calls(self, name: str, sample: int, side: str = 'output') -> int:
        """How often the module ran on a sample."""
        return len(self._places[name, side, sample])

    def samples(self, name: str, side: str = 'output') -> list[int]:
        """Samples with gradients at a module."""
        return self._samples.get((name, side), [])

    def tensors(self, name: str, sample: int, side: str = 'output') -> list[Tensor]:
        """All gradients at a module on a sample, of all calls, without the missing ones."""
        calls = range(self.num_calls(name, sample, side))
        found = [x for call in calls for x in self.of(name, sample, call, side)]
        return [x for x in found if x is not None]

    def modules(self) -> list[tuple[str, str]]:
        """Name and side of every module with gradients."""
        return list(self._samples)


def _scaled(x: Tensor) -> tuple[Tensor, float]:
    """A tensor with values up to 2, and the power of two to multiply it with."""
    largest = x.abs().max().item() if x.numel() else 0.0
    if not math.isfinite(largest) or largest == 0:
        return x, 1.0
    scale = 2.0 ** (math.frexp(largest)[1] - 1)
    return x / scale, scale


def collect_gradients(
    teacher: TeacherOutputs,
    modules: Mapping[str, nn.Module],
    gradients: Gradients,
    sides: tuple[str, ...] = ('output',),
) -> None:
    """Gradients at the inputs or outputs of modules on all samples that have a target.

    Each sample takes one forward and one backward for all modules together, through the model in
    its present state; for gradients of the float model put ``quantizers_off`` around the call.
    Modules get copies of the recorded tensors, which makes in-place operations harmless. BatchNorm
    is in eval mode, and parameters get no gradients. The gradient at an input is the one through
    this module alone, even if other modules read the same tensor.

    Args:
        teacher (TeacherOutputs): The loss and the samples.
        modules (Mapping[str, nn.Module]): Modules of the model by name; '' stands for the raw
            outputs.
        gradients (Gradients): Gets the gradients.
        sides (tuple[str]): 'input', 'output', or both. Defaults to ('output',).
    """
    gradients.owners |= modules
    with fixed_parameters(teacher.model), _eval_mode(teacher.model), torch.enable_grad():
        for sample in teacher.found:
            recorder = _Recorder(modules, sides)
            with recorder.hooks():
                raw = teacher.raw_outputs(sample)
            if '' in modules:
                raw = recorder.record('', 'output', raw)
            loss = teacher.distance(sample, raw)
            if loss.requires_grad:
                backward(loss)
            for (name, side), calls in recorder.found.items():
                data = recorder.data[name, side]
                pairs = zip(data, calls, strict=True)
                rows = [in_site_order(tree, [x.grad for x in call]) for tree, call in pairs]
                gradients.append(name, sample, rows, side)


class _Recorder:
    """Replaces inputs and outputs of modules by copies that keep their gradient.

    Attributes:
        found (dict): The copies by module and side, one list of tensors per call.
        data (dict): What was copied, by module and side.
    """

    def __init__(self, modules: Mapping[str, nn.Module], sides: tuple[str, ...]):
        self.found: dict[tuple[str, str], list[list[Tensor]]] = {
            (name, side): [] for name in modules for side in sides if name or side == 'output'
        }
        self.data: dict[tuple[str, str], list[Any]] = {key: [] for key in self.found}
        self._modules = {module: name for name, module in modules.items() if name}
        self._sides = sides

    def record(self, name: str, side: str, data: Any) -> Any:
        """The same nested data; gradients of its tensors are recorded."""
        tensors: list[Tensor] = []
        self.found[name, side].append(tensors)
        self.data[name, side].append(data)
        return _replace(data, lambda x: _with_gradient(x, tensors))

    def hooks(self) -> Any:
        """A context in which the modules are watched."""

        def enter(module, args, kwargs):
            return self.record(self._modules[module], 'input', (args, kwargs))

        def leave(module, args, output):
            return self.record(self._modules[module], 'output', output)

        before = dict.fromkeys(self._modules, enter) if 'input' in self._sides else None
        after = dict.fromkeys(self._modules, leave) if 'output' in self._sides else None
        return temporary_hooks(before, after, with_kwargs=True)


def _with_gradient(x: Tensor, tensors: list[Tensor]) -> Tensor:
    if not x.is_floating_point():
        tensors.append(x)
        return x
    copy = x.clone() if x.requires_grad else x.detach().clone().requires_grad_()
    copy.retain_grad()
    tensors.append(copy)
    return copy.clone()


def _replace(data: Any, function: Any) -> Any:
    """Nested data with all tensors replaced; sparse tensors keep their index pairs."""
    if isinstance(data, Tensor):
        return function(data)
    if is_sparse(data):
        features = function(data.features)
        function(data.indices)
        return data.replace_feature(features)
    return rebuild(data, lambda part: _replace(part, function))


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
