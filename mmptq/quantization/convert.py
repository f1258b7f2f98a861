"""From a float model to a quantized one, in place, and back to plain data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mmptq.compat.attention import keep_attention_unfused
from mmptq.quantization.graph.fold_bn import fold_bn, remove_folded
from mmptq.quantization.graph.split_attention import split_attention
from mmptq.quantization.layers import QuantMixin, quant_type_of
from mmptq.quantization.layers.products import attach_products, detach_products, make_products
from mmptq.utils.errors import QuantizationError

from .fake_quantizer import FakeQuantizer
from .plan import QuantPlan, refuse_mmcv_sparse


def apply_plan(model: nn.Module, plan: QuantPlan) -> Callable[[], None]:
    """Fold BatchNorms and turn layers into quantized ones, in place; nothing is calibrated yet.

    Returns:
        Callable: Undoes it, as long as nothing else changed.
    """
    unfold = fold_bn(model, plan.folded)
    unconvert = convert(model, plan)

    def undo() -> None:
        unconvert()
        unfold()

    return undo


def rebuild(model: nn.Module, plan: QuantPlan) -> None:
    """Give a freshly built float model the structure of a frozen quantized one.

    Its numbers come from the checkpoint that the plan was stored with.
    """
    refuse_mmcv_sparse(model)
    split_attention(model, {layer.name for layer in plan.layers})
    names = {name for name, _ in model.named_modules()}
    planned = [layer.name for layer in plan.layers]
    planned += [name for pair in plan.folded for name in pair]
    for name in [*planned, *plan.products]:
        if name not in names:
            raise QuantizationError(
                f"the quantized checkpoint has a layer '{name}', which is missing in the model of "
                'this config: use the config that the checkpoint was made with'
            )
    remove_folded(model, plan.folded)
    convert(model, plan)
    for layer in quantized_layers(model).values():
        layer.weight_quantizer.enabled = False


def convert(model: nn.Module, plan: QuantPlan) -> Callable[[], None]:
    """Turn the planned layers into their quantized versions, in place.

    Layers that own one weight together share its quantizer, so that it is rounded once.

    Returns:
        Callable: Undoes it.
    """
    modules = dict(model.named_modules())
    converted: list[tuple[nn.Module, type]] = []
    owners: dict[nn.Parameter, nn.Module] = {}
    for layer in plan.layers:
        if layer.quantized:
            module = modules[layer.name]
            converted.append((module, type(module)))
            module.__class__ = quant_type_of(type(module))
            module.attach(layer.weight, layer.act)
            if layer.multiplier:
                module.expect_multiplier()
            module.weight_quantizer = owners.setdefault(module.weight, module).weight_quantizer
    for name, item in plan.products.items():
        attach_products(modules[name], make_products(item.left, item.right, item.count))
    keep_attention_unfused(model)

    def undo() -> None:
        for name in plan.products:
            detach_products(modules[name])
        for module, float_type in converted:
            module.detach()
            module.__class__ = float_type

    return undo


def quantized_layers(model: nn.Module) -> dict[str, QuantMixin]:
    """Quantized layers by their first name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, QuantMixin)}


@torch.no_grad()
def freeze(model: nn.Module) -> None:
    """Write on-grid weights into the layers; their weight quantizers keep the scales only.

    A weight that several layers own is rounded once.
    """
    frozen: set[nn.Parameter] = set()
    for layer in quantized_layers(model).values():
        quantizer = layer.weight_quantizer
        if isinstance(quantizer, FakeQuantizer):
            if layer.weight not in frozen:
                layer.weight.copy_(quantizer(layer.weight))
                frozen.add(layer.weight)
            quantizer.rounding = None
            quantizer.enabled = False


@contextmanager
def quantizers_off(model: nn.Module) -> Iterator[None]:
    """Within this context the model computes in float."""
    quantizers = [m for m in model.modules() if isinstance(m, FakeQuantizer)]
    states = [quantizer.enabled for quantizer in quantizers]
    for quantizer in quantizers:
        quantizer.enabled = False
    try:
        yield
    finally:
        for quantizer, state in zip(quantizers, states, strict=True):
            quantizer.enabled = state
