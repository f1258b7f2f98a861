"""Folding of BatchNorm into the convolution or linear layer that really runs before it."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmptq.quantization.layers.registry import quant_type_of

from .parameter_owners import computed_weight, weight_partners
from .trace import LayerTrace, Trace

HOOKS = (
    '_forward_hooks',
    '_forward_hooks_with_kwargs',
    '_forward_hooks_always_called',
    '_forward_pre_hooks',
    '_forward_pre_hooks_with_kwargs',
)


def find_foldable(model: nn.Module, trace: Trace) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Pairs of layer and BatchNorm that can be folded, and why the others cannot.

    Args:
        model (nn.Module): In eval mode.
        trace (Trace): Its record, from ``trace_layers``.

    Returns:
        tuple: list of (layer name, BatchNorm name); dict from BatchNorm name to the reason.
    """
    modules = dict(model.named_modules())
    partners = weight_partners(model, {name: modules[name] for name in trace.layers})
    pairs, refused = [], {}
    for norm_name, feeders in trace.norm_inputs.items():
        reason = None
        if None in feeders:
            reason = 'its input is not directly the output of a convolution or linear layer'
        elif len(feeders) > 1:
            reason = f'it follows several layers: {", ".join(sorted(feeders))}'
        else:
            (layer_name,) = feeders
            reason = (
                _refusal(modules[layer_name], trace.layers[layer_name], modules[norm_name])
                or _shared(layer_name, norm_name, trace, partners)
                or _norm_refusal(modules[norm_name], norm_name in trace.other_norms)
            )
        if reason is None:
            pairs.append((layer_name, norm_name))
        else:
            refused[norm_name] = reason
    return pairs, refused


def _refusal(layer: nn.Module, record: LayerTrace, norm: _BatchNorm) -> str | None:
    if len(record.norms) > 1:
        return f'{record.name} is shared by several BatchNorms: {", ".join(sorted(record.norms))}'
    if record.other_uses:
        return f'the output of {record.name} has a second consumer'
    if quant_type_of(type(layer)) is None:
        return f'{record.name} is a {type(layer).__name__}, which changes its weight before use'
    if 'bias' not in layer._parameters:
        return f'{record.name} ({type(layer).__name__}) cannot have a bias'
    if computed_weight(layer) is not None:
        return f'of {record.name} {computed_weight(layer)}'
    if layer.weight.shape[quant_type_of(type(layer)).weight_axis] != norm.num_features:
        return f'its channels are not the output channels of {record.name}'
    return None


def _shared(layer: str, norm: str, trace: Trace, partners: dict[str, set[str]]) -> str | None:
    if layer in partners:
        return f'{layer} shares its weight with {", ".join(sorted(partners[layer]))}'
    for name in (layer, norm):
        if name in trace.used_outside:
            return f'parameters of {name} are used outside of its forward'
    return None


def _norm_refusal(norm: _BatchNorm, is_other: bool) -> str | None:
    if norm.running_mean is None:
        return 'it keeps no running statistics'
    if norm.training:
        return 'it is in train mode'
    if is_other:
        return f'{type(norm).__name__} computes something else than its running statistics say'
    return None


@torch.no_grad()
def fold_bn(model: nn.Module, pairs: list[tuple[str, str]]) -> Callable[[], None]:
    """Fold BatchNorms into layers, in place; each BatchNorm becomes ``nn.Identity``.

    Args:
        model (nn.Module): The float model.
        pairs (list): (layer name, BatchNorm name), from ``find_foldable``.

    Returns:
        Callable: Undoes it.
    """
    modules = dict(model.named_modules())
    saved = []
    for layer_name, norm_name in pairs:
        layer, norm = modules[layer_name], modules[norm_name]
        saved.append((layer, layer.weight.data, layer.bias))
        gain = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            gain = gain * norm.weight
        axis = quant_type_of(type(layer)).weight_axis
        shape = [1] * layer.weight.dim()
        shape[axis] = -1
        offset = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        shift = 0 if norm.bias is None else norm.bias
        layer.weight.data = layer.weight * gain.view(shape)
        layer.bias = nn.Parameter(offset * gain + shift)
    put_back = remove_folded(model, pairs)

    def undo() -> None:
        for layer, weight, bias in saved:
            layer.weight.data, layer.bias = weight, bias
        put_back()

    return undo


def remove_folded(model: nn.Module, pairs: list[tuple[str, str]]) -> Callable[[], None]:
    """Give a freshly built model the structure of a folded one, without its numbers.

    A layer without bias gets one of zeros. A folded BatchNorm becomes ``nn.Identity``, which keeps
    the hooks that somebody attached.

    Returns:
        Callable: Puts the BatchNorms back.
    """
    modules = dict(model.named_modules())
    removed = []
    for layer_name, norm_name in pairs:
        layer, norm = modules[layer_name], modules[norm_name]
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
        identity = nn.Identity()
        identity.train(norm.training)
        for hooks in HOOKS:
            setattr(identity, hooks, getattr(norm, hooks))
        for parent in modules.values():
            for child_name, child in list(parent._modules.items()):
                if child is norm:
                    removed.append((parent, child_name, norm))
                    setattr(parent, child_name, identity)

    def put_back() -> None:
        for parent, child_name, norm in removed:
            setattr(parent, child_name, norm)

    return put_back
