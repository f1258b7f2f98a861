"""Folding of BatchNorm into the convolution or linear layer that really runs before it."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmptq.quantization.layers.registry import quant_type_of

from .trace import LayerTrace, Trace


def find_foldable(model: nn.Module, trace: Trace) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Pairs of layer and BatchNorm that can be folded, and why the others cannot.

    Args:
        model (nn.Module): In eval mode.
        trace (Trace): Its record, from ``trace_layers``.

    Returns:
        tuple: list of (layer name, BatchNorm name); dict from BatchNorm name to the reason.
    """
    modules = dict(model.named_modules())
    pairs, refused = [], {}
    for norm_name, feeders in trace.norm_inputs.items():
        reason = None
        if None in feeders:
            reason = 'its input is not directly the output of a convolution or linear layer'
        elif len(feeders) > 1:
            reason = f'it follows several layers: {", ".join(sorted(feeders))}'
        else:
            (layer_name,) = feeders
            reason = _refusal(modules[layer_name], trace.layers[layer_name], modules[norm_name])
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
    if norm.running_mean is None:
        return 'it keeps no running statistics'
    return None


@torch.no_grad()
def fold_bn(model: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Fold BatchNorms into layers, in place; each BatchNorm becomes ``nn.Identity``.

    Args:
        model (nn.Module): The float model.
        pairs (list): (layer name, BatchNorm name), from ``find_foldable``.
    """
    modules = dict(model.named_modules())
    for layer_name, norm_name in pairs:
        layer, norm = modules[layer_name], modules[norm_name]
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
    remove_folded(model, pairs)


def remove_folded(model: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Give a freshly built model the structure of a folded one, without its numbers.

    A layer without bias gets one of zeros, a folded BatchNorm becomes ``nn.Identity``.
    """
    modules = dict(model.named_modules())
    for layer_name, norm_name in pairs:
        layer, norm = modules[layer_name], modules[norm_name]
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
        for parent in modules.values():
            for child_name, child in list(parent._modules.items()):
                if child is norm:
                    setattr(parent, child_name, nn.Identity())
