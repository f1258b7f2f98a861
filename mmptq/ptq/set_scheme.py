"""The only writers of what is quantized, after the plan is made."""

from dataclasses import fields, replace
from typing import Any

from torch import Tensor, nn

from mmptq.quantization import QScheme, QuantizationError, QuantMixin
from mmptq.quantization.graph.parameter_owners import computed_weight, weight_partners
from mmptq.quantization.layers import quant_type_of
from mmptq.quantization.layers.products import detach_products
from mmptq.quantization.placement import LayerPlan, is_grouped_transposed
from mmptq.utils.globs import no_match

from .context import PTQContext
from .layer_state import LayerState

KEEP = object()
Change = QScheme | dict[str, Any] | None


def set_scheme(
    ctx: PTQContext,
    layer: str,
    weight: Change | object = KEEP,
    act: Change | object = KEEP,
    reason: str = '',
) -> None:
    """Quantize a layer in another way than planned: plan and quantizers change together.

    A quantizer whose grid changes is not calibrated any more, and what was learned for it is gone;
    one whose grid stays keeps its range. A layer that was float is quantized from now on.

    Args:
        ctx (PTQContext): Planned and converted.
        layer (str): Name of the layer, as in the plan.
        weight (QScheme | dict, optional): A dict changes these fields of the scheme, with
            ``per_channel`` for one scale per output channel; None makes the weight float. Without
            it the weight stays as it is.
        act (QScheme | dict, optional): The same for the input of the layer.
        reason (str): Note in the coverage table, also where the schemes stay. Defaults to the stage
            that runs.

    Raises:
        QuantizationError: If there is no such layer, or the backend cannot run the scheme; nothing
            has changed then.

    Example:
        >>> set_scheme(ctx, 'backbone.conv1', weight=dict(bits=8), act=dict(bits=8))
    """
    plan = _find(ctx, layer)
    module = ctx.model.get_submodule(layer)
    kind = type(module) if isinstance(module, QuantMixin) else quant_type_of(type(module))
    axes = dict(weight=kind.weight_axis, act=kind.channel_axis)
    changes = {part: value for part, value in (('weight', weight), ('act', act)) if value != KEEP}
    schemes = {
        part: _changed(getattr(plan, part), value, axes[part], f"the {part} scheme of '{layer}'")
        for part, value in changes.items()
    }
    schemes = {part: new for part, new in schemes.items() if new != getattr(plan, part)}
    if not schemes:
        plan.reason = reason or plan.reason
        return None
    reason = reason or _set_by(ctx)
    wanted = replace(plan, **schemes, reason=reason)
    if not wanted.quantized:
        return detach(ctx, layer, reason)
    _check_quantizable(ctx, layer, module)
    if ctx.limits is not None:
        ctx.limits.check_plan([wanted])
    _quantize(ctx, layer, module)
    for part, scheme in schemes.items():
        _set_quantizer(module, 'weight' if part == 'weight' else 'input', scheme)
        setattr(plan, part, scheme)
    plan.reason = reason
    for other in _same_weight(ctx, layer) if 'weight' in schemes else ():
        ctx.layers[other].module.weight_quantizer = module.weight_quantizer
        other_plan = _find(ctx, other)
        other_plan.weight, other_plan.reason = plan.weight, reason
    return None


def detach(ctx: PTQContext, layer: str, reason: str = '') -> None:
    """Make a layer float again: plan, module and layer states know nothing of it any more.

    A BatchNorm that was folded into it stays folded. Layers that share its weight become float,
    too.

    Args:
        ctx (PTQContext): Planned and converted.
        layer (str): Name of the layer, as in the plan.
        reason (str): Note in the coverage table. Defaults to the stage that runs.

    Raises:
        QuantizationError: If there is no such layer.
    """
    _find(ctx, layer)
    if not isinstance(ctx.model.get_submodule(layer), QuantMixin):
        return
    for name in [layer, *_same_weight(ctx, layer)]:
        ctx.model.get_submodule(name).detach()
        plan = _find(ctx, name)
        plan.weight = plan.act = None
        plan.multiplier = False
        plan.reason = reason or _set_by(ctx)
        ctx.layers.pop(name, None)


def detach_product(ctx: PTQContext, quantizer: str, reason: str) -> None:
    """Make all products of an attention float again.

    Args:
        ctx (PTQContext): Planned and converted.
        quantizer (str): Name of the quantizer of one operand, see ``product_quantizers``.
        reason (str): Note in the coverage table.
    """
    name = quantizer.rpartition('.products.')[0]
    product = ctx.plan.products.pop(name, None)
    if product is not None:
        detach_products(ctx.model.get_submodule(name))
        ctx.plan.float_parts[name] = (product.kind, reason)


def set_multiplier(ctx: PTQContext, layer: str, multiplier: Tensor | None) -> None:
    """Multiply the input of a quantized layer by channel, before it is quantized.

    The weight is divided by the same factors, so that the layer computes the same with quantizers
    off. Its quantizers keep scales that do not fit any more: calibrate afterwards.

    Args:
        ctx (PTQContext): Planned and converted.
        layer (str): Name of the layer, as in the plan.
        multiplier (Tensor, optional): (C,) positive factors, in place of those that the layer has;
            None takes them away.

    Raises:
        QuantizationError: If there is no such layer, or it cannot multiply its input.
    """
    plan = _find(ctx, layer)
    problem = multiplier_problem(ctx, layer)
    if problem:
        raise QuantizationError(f"'{layer}' gets no channel multiplier: {problem}")
    ctx.model.get_submodule(layer).set_multiplier(multiplier)
    plan.multiplier = multiplier is not None
    ctx.layers[layer].input_range = None


def multiplier_problem(ctx: PTQContext, layer: str) -> str | None:
    """Why a layer cannot multiply its input by channel, or None."""
    module = ctx.model.get_submodule(layer)
    if not isinstance(module, QuantMixin):
        return 'it is not quantized'
    if not module.takes_multiplier:
        return f'a {_find(ctx, layer).kind} takes none'
    others = _same_weight(ctx, layer)
    return f'its weight is shared with {", ".join(others)}' if others else None


def _same_weight(ctx: PTQContext, layer: str) -> list[str]:
    """Other quantized layers that own the same weight."""
    weight = ctx.model.get_submodule(layer).weight
    states = ctx.layers.items()
    return [name for name, state in states if name != layer and state.module.weight is weight]


def _find(ctx: PTQContext, layer: str) -> LayerPlan:
    for plan in ctx.plan.layers:
        if plan.name == layer:
            return plan
    raise no_match(layer, [plan.name for plan in ctx.plan.layers], 'set_scheme')


def _check_quantizable(ctx: PTQContext, layer: str, module: nn.Module) -> None:
    """Refuse a layer that has no quantized version, or a weight that something else reads."""
    if is_grouped_transposed(module):
        raise QuantizationError(
            f"'{layer}' is a transposed convolution with groups={module.groups}, which has no "
            'quantized version: leave it float'
        )
    if computed_weight(module):
        raise QuantizationError(f"'{layer}' cannot be quantized: {computed_weight(module)}")
    owners = weight_partners(ctx.model, {layer: module}).get(layer, set())
    owners = owners - {other.name for other in ctx.plan.layers}
    if owners:
        raise QuantizationError(
            f"'{layer}' cannot be quantized: its weight is shared with {', '.join(sorted(owners))}"
        )


def _set_by(ctx: PTQContext) -> str:
    return f'set by {ctx.stage.split("-", 1)[1]}' if ctx.stage else 'set after the plan'


def _changed(old: QScheme | None, change: Change, axis: int, where: str) -> QScheme | None:
    if change is None:
        return None
    if isinstance(change, QScheme):
        if change.channel_axis not in (None, axis):
            raise QuantizationError(f'{where} has channel_axis={change.channel_axis}: use {axis}')
        return change
    before = {} if old is None else {f.name: getattr(old, f.name) for f in fields(old)}
    per_channel = before.pop('channel_axis', None) is not None
    return QScheme.from_config({**before, 'per_channel': per_channel, **change}, axis, where)


def _quantize(ctx: PTQContext, layer: str, module: nn.Module) -> None:
    """Turn a float layer into a quantized one with both slots empty."""
    if not isinstance(module, QuantMixin):
        module.__class__ = quant_type_of(type(module))
        module.attach(None, None)
        ctx.layers[layer] = LayerState(layer, module)


def _set_quantizer(module: QuantMixin, tensor: str, scheme: QScheme | None) -> None:
    """A new quantizer, switched on or off as the old one was."""
    enabled = getattr(getattr(module, f'{tensor}_quantizer'), 'enabled', True)
    module.set_quantizer(tensor, scheme)
    if scheme is not None:
        getattr(module, f'{tensor}_quantizer').enabled = enabled
