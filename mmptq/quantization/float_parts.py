"""What stays float in a quantized model by design, with the reason in the coverage table."""

from torch import nn

from .layers import quant_type_of
from .layers.attention import float_attention

PRODUCTS = 'its projections are layers; softmax and the two products of activations stay float'
# By the names of classes or base classes, so that neither mmcv nor mmdet has to be there.
REASONS = {
    'LayerNorm': 'normalisation stays float',
    'MultiScaleDeformableAttention': (
        'its projections are layers; softmax and the sampling of values stay float'
    ),
}
ATTENTIONS = (
    'BertSelfAttention',
    'BiMultiHeadAttention',
    'ConditionalAttention',
    'MultiheadAttention',
    'WindowMSA',
)
NOTES = {'Embedding': 'its rows are looked up, not multiplied'}


def float_reason(module: nn.Module) -> str | None:
    """Why what a module computes itself stays float; None for layers and containers."""
    names = {base.__name__ for base in type(module).__mro__}
    if names.intersection(ATTENTIONS):
        # mmcv's wrapper around torch's attention has a row for what is inside.
        inner = any(isinstance(child, nn.MultiheadAttention) for child in module.children())
        return None if inner else PRODUCTS
    return next((reason for name, reason in REASONS.items() if name in names), None)


def attention_layers(model: nn.Module) -> set[nn.Module]:
    """Layers directly inside of an attention: its projections."""
    return {
        child
        for module in model.modules()
        if any(base.__name__.endswith(('Attention', 'MSA')) for base in type(module).__mro__)
        for child in module.children()
        if quant_type_of(type(child)) is not None
    }


def find_float_parts(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Modules that compute in float by design: name to class name and reason."""
    return {
        name: (float_attention(type(module)).__name__, reason)
        for name, module in model.named_modules()
        if (reason := float_reason(module)) is not None
    }


def find_unsupported(model: nn.Module) -> dict[str, str]:
    """Modules with a weight matrix that have no quantized version: name to type.

    Parameters that are not the weight of a layer are named after a dot: ``WindowMSA.table``.
    """
    unsupported = {}
    for name, module in model.named_modules():
        own = module.named_parameters(recurse=False)
        weights = [key for key, p in own if p.dim() > 1 and key not in ('bias_k', 'bias_v')]
        if 'parametrizations' in name.split('.'):
            continue  # of a weight whose layer has its own row
        if weights and quant_type_of(type(module)) is None:
            kind = type(module).__name__
            unsupported[name] = kind if 'weight' in weights else f'{kind}.{weights[0]}'
    return unsupported
