"""What every run checks itself, before anything is calibrated.

1. With quantizers off, the converted model gives what the float model gave.
2. Every quantizer runs in a forward without hooks: the model that is observed is the one that is
   scored.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.set_scheme import detach
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    QuantPlan,
    apply_plan,
    quantized_layers,
    quantizers_off,
)
from mmptq.quantization.placement import LayerPlan
from mmptq.utils.hooks import replaced_forwards

from .float_outputs import FloatOutputs

CACHE_BYTES = 2**29
BYPASSED = 'its quantizers do not run: other code computes with its weight'
REWRITTEN = 'other code gives it another weight in every forward'


def convert_checked(ctx: PTQContext) -> None:
    """Carry out the plan, leaving out what would change the float model or would never run.

    What is left out stays float, with the reason in the plan and a warning.

    Args:
        ctx (PTQContext): Planned.

    Raises:
        QuantizationError: If the model is another one after conversion and no layer is the
            reason, or nothing is left to quantize.
    """
    with _timed(ctx, 'float outputs'):
        batches = list(ctx.batches_at(ctx.plan.samples))
        bypassed = _convert(ctx, batches)
        ctx.make_layer_states()
    with _timed(ctx, 'quantizers run'):
        if bypassed is None:
            bypassed = bypassed_layers(ctx.model, [partial(ctx.predict, x) for x in batches])
        for name, reason in bypassed.items():
            detach(ctx, name, reason)
            ctx.logger.warning(f"'{name}' stays float: {reason}")
    _check_rest(ctx)


@torch.no_grad()
def bypassed_layers(model: nn.Module, runs: list[Callable[[], Any]]) -> dict[str, str]:
    """Quantized layers that compute with something else than their quantizers give, and why.

    The last bit of one value of each weight is changed while the model runs, without any hook of
    ours. A quantizer that gets another weight shows a layer whose weight is written anew.

    Args:
        model (nn.Module): Converted.
        runs (list[Callable]): Each runs the model on a sample; together they reach all layers.
    """
    with _watched_quantizers(model) as found:
        for run in runs:
            run()
    return found()


@contextmanager
def _watched_quantizers(model: nn.Module) -> Iterator[Callable[[], dict[str, str]]]:
    """Within this context quantizers are off; gives what ``bypassed_layers`` returns."""
    layers = quantized_layers(model)
    ran: set[nn.Module] = set()
    rewritten: set[nn.Module] = set()
    marks = {layer.weight: _first_value(layer.weight) for layer in layers.values()}
    saved = {weight: mark.clone() for weight, mark in marks.items()}

    def noting(quantizer: FakeQuantizer, weight: Tensor | None) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            ran.add(quantizer)
            if weight is not None and not torch.equal(_first_value(x), marks[weight]):
                rewritten.add(quantizer)
            return x

        return forward

    slots: dict[str, list[nn.Module]] = {}
    forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
    for name, layer in layers.items():
        pairs = ((layer.weight_quantizer, layer.weight), (layer.input_quantizer, None))
        pairs = [(q, weight) for q, weight in pairs if isinstance(q, FakeQuantizer)]
        slots[name] = [q for q, _ in pairs]
        forwards.update({q: noting(q, weight) for q, weight in pairs})
    for mark in marks.values():
        mark += (mark.abs() + 1e-3) * 4 * torch.finfo(mark.dtype).eps

    def found() -> dict[str, str]:
        names = {name: BYPASSED for name, parts in slots.items() if not ran.issuperset(parts)}
        changed = (name for name, parts in slots.items() if rewritten.intersection(parts))
        return names | dict.fromkeys(changed, REWRITTEN)

    try:
        # No hooks: torch's fused attention looks for them, and calls modules only where there are
        # some.
        with replaced_forwards(forwards):
            yield found
    finally:
        for weight, value in saved.items():
            _first_value(weight).copy_(value)


def _first_value(x: Tensor) -> Tensor:
    """One value of a tensor, in its memory."""
    return x.detach()[(0,) * x.dim()]


@contextmanager
def _timed(ctx: PTQContext, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    ctx.checks.append(dict(check=name, seconds=time.perf_counter() - start))


def _convert(ctx: PTQContext, batches: list[Any]) -> dict[str, str] | None:
    """Fold and convert, without what changes the outputs.

    Returns:
        dict[str, str] | None: What ``bypassed_layers`` returns, where one forward showed both.
    """
    with ActivationCache(CACHE_BYTES, ctx.work_dir / 'cache') as cache:
        records = []
        for data in batches:
            run = partial(ctx.predict, data)
            records.append(FloatOutputs(ctx.model, run, cache, ctx.seed))
            records[-1].record(_watched(ctx.plan))
        bypassed = _convert_at_once(ctx, records)
        if bypassed is not None:
            return bypassed
        difference = _difference(ctx, ctx.plan, records, keep=True)
        if difference is None:
            return None
        reproducible = _difference(ctx, QuantPlan(), records) is None
        if reproducible:
            _leave_out(ctx, records)
            difference = _difference(ctx, ctx.plan, records, keep=True)
            if difference is not None:
                raise QuantizationError(
                    f'folding and conversion change {difference}, with quantizers off: keep the '
                    'layers around it float with --float NAME'
                )
            return None
    ctx.logger.warning(
        'outputs of the float model differ from run to run, so that folding is not checked'
    )
    apply_plan(ctx.model, ctx.plan)
    return None


@torch.no_grad()
def _convert_at_once(ctx: PTQContext, records: list[FloatOutputs]) -> dict[str, str] | None:
    """Both checks in one forward per sample; the model is left converted only on success."""
    undo = apply_plan(ctx.model, ctx.plan)
    with _watched_quantizers(ctx.model) as bypassed:
        if all(record.first_difference(hooks=False) is None for record in records):
            return bypassed()
    undo()
    return None


def _watched(plan: QuantPlan) -> list[str]:
    """Modules with outputs that conversion must not change."""
    norms = dict(plan.folded)
    return [norms.get(layer.name, layer.name) for layer in plan.layers if layer.quantized]


def _difference(
    ctx: PTQContext, plan: QuantPlan, records: list[FloatOutputs], keep: bool = False
) -> str | None:
    """What a plan changes in the float model; the model is left converted only on success."""
    undo = apply_plan(ctx.model, plan)
    with quantizers_off(ctx.model):
        found = (record.first_difference() for record in records)
        difference = next((text for text in found if text is not None), None)
    if difference is not None or not keep:
        undo()
    return difference


def _leave_out(ctx: PTQContext, records: list[FloatOutputs]) -> None:
    """Take out of the plan what changes the outputs: foldings, or whole layers."""
    plan, norms = ctx.plan, dict(ctx.plan.folded)
    changes: dict[str, str] = {}

    def same(layers: list[LayerPlan], fold: bool = True) -> bool:
        pairs = [(x.name, norms[x.name]) for x in layers if fold and x.name in norms]
        change = _difference(ctx, replace(plan, layers=layers, folded=pairs), records)
        if change is not None and len(layers) == 1:
            changes[layers[0].name] = change
        return change is None

    for layer in _culprits([layer for layer in plan.layers if layer.quantized], same):
        name, norm = layer.name, norms.get(layer.name)
        if norm is not None:
            plan.folded.remove((name, norm))
            plan.unfolded[norm] = f'folding it into {name} changes {changes[name]}'
            ctx.logger.warning(f"'{norm}' is not folded: {plan.unfolded[norm]}")
        if norm is None or not same([layer], fold=False):
            layer.weight = layer.act = None
            layer.reason = f'quantizing it changes {changes[name]} even with quantizers off'
            ctx.logger.warning(f"'{name}' stays float: {layer.reason}")
    _check_rest(ctx)


def _culprits(layers: list[LayerPlan], same: Callable[[list[LayerPlan]], bool]) -> list[LayerPlan]:
    """The layers that change the outputs, each by itself: halves that do not are done."""
    if not layers or same(layers):
        return []
    if len(layers) == 1:
        return layers
    middle = len(layers) // 2
    return [*_culprits(layers[:middle], same), *_culprits(layers[middle:], same)]


def _check_rest(ctx: PTQContext) -> None:
    if not any(layer.quantized for layer in ctx.plan.layers):
        reasons = next((f": '{x.name}', {x.reason}" for x in ctx.plan.layers if x.reason), '')
        raise QuantizationError(
            f'no layer is left to quantize{reasons}: the coverage table above has every reason'
        )
