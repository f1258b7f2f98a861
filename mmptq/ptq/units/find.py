"""Finding the parts of a model that are reconstructed together: layers, blocks or everything."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmptq.quantization import QuantizationError, QuantMixin, QuantPlan
from mmptq.utils.globs import match
from mmptq.utils.hooks import temporary_hooks

from .unit import Unit

GRANULARITIES = ('layer', 'block', 'network')
# Blocks by the names of their classes or base classes, so that neither mmdet nor mmdet3d has to
# be there. SparseBasicBlock of mmdet3d is a BasicBlock.
BLOCK_CLASSES = {
    'BasicBlock',
    'BasicBlockV2',
    'Bottleneck',
    'BottleneckV2',
    'CSPLayer',
    'SPPBottleneck',
    'Focus',
    'InvertedResidual',
    'DepthwiseSeparableConvModule',
    'VFELayer',
    'PFNLayer',
    '_OSA_module',
}
# Layers of transformers: mmdet's and their successors, mmcv's, torch's, Swin's and PVT's.
TRANSFORMER_LAYERS = {
    'DetrTransformerEncoderLayer',
    'DetrTransformerDecoderLayer',
    'BaseTransformerLayer',
    'TransformerEncoderLayer',
    'TransformerDecoderLayer',
    'SwinBlock',
    'PVTEncoderLayer',
}
# A chain of layers up to this length is reconstructed as one block (the stages of SECOND).
LONGEST_CHAIN = 8


@dataclass
class _Runs:
    """A forward pass by module: order of first calls, numbers of calls, modules around them."""

    order: dict[nn.Module, int] = field(default_factory=dict)
    calls: dict[nn.Module, int] = field(default_factory=dict)
    around: dict[nn.Module, set[nn.Module]] = field(default_factory=dict)


def find_units(
    model: nn.Module,
    run: Callable[[], Any],
    granularity: str = 'block',
    overrides: list[str | dict[str, str]] | None = None,
) -> list[Unit]:
    """Units that cover every quantized layer that runs, in order of execution.

    Blocks are residual and CSP blocks, layers of transformers, short chains of layers, and heads
    without a transformer inside. A layer outside of blocks (a convolution of an FPN) is a unit
    together with its activation.

    Args:
        model (nn.Module): Quantized.
        run (Callable): Runs the model on one sample.
        granularity (str): 'layer', 'block' or 'network'.
        overrides (list, optional): Module names or globs that are one unit each (the outermost of
            nested ones), or ``dict(name=glob, granularity='layer' or 'block')`` to divide these
            modules differently from the rest.

    Raises:
        QuantizationError: If an override matches nothing, or only modules that do not run as a
            whole.
    """
    if granularity not in GRANULARITIES:
        raise QuantizationError(
            f"granularity='{granularity}' is unknown: use {', '.join(GRANULARITIES)}"
        )
    runs = _watch(model, run)
    finder = _Finder(model, runs)
    if granularity == 'network':
        return [Unit('', model, finder.layers_in(model))]
    units = finder.find('', model, granularity, _match(finder, overrides or []))
    return sorted(units, key=lambda unit: min(runs.order[m] for m in unit.layers.values()))


def without(units: list[Unit], skip: list[str]) -> list[Unit]:
    """The units that no name or glob in ``skip`` matches.

    Raises:
        QuantizationError: If one matches no unit.
    """
    skipped = match(skip, [unit.name for unit in units], 'skip', 'unit')
    return [unit for unit in units if unit.name not in skipped]


def check_names(plan: QuantPlan, units: list[str | dict[str, str]], skip: list[str]) -> None:
    """Refuse patterns that fit no module with planned layers, before anything runs.

    Args:
        plan (QuantPlan): Of the model.
        units (list): As ``overrides`` of ``find_units``.
        skip (list[str]): As for ``without``.

    Raises:
        QuantizationError: If a pattern fits nothing.
    """
    paths = [layer.name.split('.') for layer in plan.layers if layer.quantized]
    names = {'.'.join(path[:count]) for path in paths for count in range(1, len(path) + 1)}
    for entry in units:
        entry = dict(name=entry) if isinstance(entry, str) else _unit_entry(entry)
        match(entry['name'], sorted(names), 'units', 'module with quantized layers')
    match(skip, sorted(names | {''}), 'skip', 'unit')


@torch.no_grad()
def _watch(model: nn.Module, run: Callable[[], Any]) -> _Runs:
    runs = _Runs()
    active: list[nn.Module] = []

    def enter(module, args):
        runs.order.setdefault(module, len(runs.order))
        runs.calls[module] = runs.calls.get(module, 0) + 1
        active.append(module)
        runs.around[module] = runs.around.get(module, set(active)) & set(active)

    def leave(module, args, output):
        active.pop()

    modules = list(model.modules())
    with temporary_hooks(dict.fromkeys(modules, enter), dict.fromkeys(modules, leave)):
        run()
    return runs


class _Finder:
    """Divides a model into units, given the modules that ran."""

    def __init__(self, model: nn.Module, runs: _Runs):
        self.model = model
        self.runs = runs
        self.names = {module: name for name, module in model.named_modules()}

    def layers_in(self, module: nn.Module) -> dict[str, QuantMixin]:
        """Quantized layers that ran, in order of execution."""
        order = self.runs.order
        found = [m for m in module.modules() if isinstance(m, QuantMixin) and m in order]
        return {self.names[m]: m for m in sorted(found, key=order.__getitem__)}

    def is_whole(self, module: nn.Module) -> bool:
        """Whether all of its quantized layers run only while it runs itself."""
        layers = self.layers_in(module).values()
        return bool(layers) and all(module in self.runs.around[layer] for layer in layers)

    def make(self, module: nn.Module) -> Unit:
        return Unit(self.names[module], module, self.layers_in(module), self.runs.calls[module])

    def find(
        self, name: str, module: nn.Module, granularity: str, chosen: dict[str, str]
    ) -> list[Unit]:
        if not self.layers_in(module):
            return []
        if name in chosen:
            granularity = chosen[name]
            chosen = {}
            if granularity == 'whole':
                return [self.make(module)]
        prefix = f'{name}.' if name else ''
        free = not any(other.startswith(prefix) for other in chosen)
        if free and name and self.is_whole(module) and self._is_unit(module, granularity):
            return [self.make(module)]
        units = []
        for child_name, child in module.named_children():
            if self.names[child] == prefix + child_name:  # a shared module counts once
                units += self.find(prefix + child_name, child, granularity, chosen)
        covered = {layer for unit in units for layer in unit.layers}
        if isinstance(module, QuantMixin) and name not in covered:
            units.append(Unit(name, module, {name: module}, self.runs.calls[module]))
        return units

    def _is_unit(self, module: nn.Module, granularity: str) -> bool:
        weighted = [m for m in module.modules() if _has_weight(m)]
        if len(weighted) == 1:
            return True  # a layer with its activation
        if granularity == 'layer':
            return False
        inside = [m for m in module.modules() if m is not module]
        if _is_block(module):
            return True
        if _is_head(module):
            return not any(_has_base(m, TRANSFORMER_LAYERS) for m in inside)
        inner = any(map(_is_block, inside))
        return isinstance(module, nn.Sequential) and not inner and len(weighted) <= LONGEST_CHAIN


def _has_weight(module: nn.Module) -> bool:
    return any(p.dim() > 1 for p in module.parameters(recurse=False))


def _is_block(module: nn.Module) -> bool:
    return _has_base(module, BLOCK_CLASSES | TRANSFORMER_LAYERS)


def _has_base(module: nn.Module, names: set[str]) -> bool:
    return any(base.__name__ in names for base in type(module).__mro__)


def _is_head(module: nn.Module) -> bool:
    return any(base.__name__.endswith('Head') for base in type(module).__mro__)


def _unit_entry(entry: Any) -> dict[str, str]:
    granularities = ('whole', 'layer', 'block')
    fits = isinstance(entry, dict) and 'name' in entry and not set(entry) - {'name', 'granularity'}
    if not fits or entry.get('granularity', 'whole') not in granularities:
        raise QuantizationError(
            f"units has the entry {entry}: use a name, or dict(name=..., granularity='layer' "
            "or 'block')"
        )
    return dict(entry)


def _match(finder: _Finder, overrides: list[str | dict[str, str]]) -> dict[str, str]:
    """Module name to 'whole' or a granularity, for all matches of the overrides."""
    chosen: dict[str, str] = {}
    names = {name: m for m, name in finder.names.items() if name and finder.layers_in(m)}
    for override in overrides:
        entry = dict(name=override) if isinstance(override, str) else _unit_entry(override)
        granularity = entry.get('granularity', 'whole')
        found = match(entry['name'], names, 'units', 'module with quantized layers')
        if granularity == 'whole':
            whole = [name for name in found if finder.is_whole(names[name])]
            if not whole:
                raise QuantizationError(
                    f"units names '{found[0]}', but its layers also run outside of it: name the "
                    'modules inside'
                )
            found = whole
        chosen.update(dict.fromkeys(found, granularity))
    return chosen
