"""Which attentions of a model have their input projections turned into layers."""

from collections.abc import Container

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from mmptq.quantization.layers.attention import METHODS, PROJECTIONS, SplitAttention, split

from .parameter_owners import memory_of


def split_attention(model: nn.Module, planned: Container[str] | None = None) -> None:
    """Turn the input projections of every ``nn.MultiheadAttention`` into layers, in place.

    No number changes, and the state dict keeps torch's names until a projection is quantized. An
    attention that computes something else, or shares parameters with another module, stays as it
    is.

    Args:
        model (nn.Module): The model.
        planned (Container[str], optional): Names of layers; only attentions with a projection
            among them are split. Defaults to None, which splits all.
    """
    owners: dict[int, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None and memory_of(parameter):
                owners.setdefault(memory_of(parameter), set()).add(module)
    for name, module in list(model.named_modules()):
        wanted = planned is None or any(f'{name}.{part}' in planned for part in PROJECTIONS)
        if wanted and isinstance(module, nn.MultiheadAttention) and _is_plain(module, owners):
            split(module)


def _is_plain(attention: nn.MultiheadAttention, owners: dict[int, set[nn.Module]]) -> bool:
    """Whether an attention computes what torch's own does, with parameters of its own."""
    if isinstance(attention, SplitAttention):
        return False
    kind = type(attention)
    out_proj = attention._modules.get('out_proj')
    own = [p for m in (attention, out_proj) if m is not None for p in m._parameters.values()]
    return (
        all(getattr(kind, name) is getattr(nn.MultiheadAttention, name) for name in METHODS)
        and type(out_proj) in (NonDynamicallyQuantizableLinear, nn.Linear)
        and 'in_proj_weight' in attention._parameters
        and 'weight' in out_proj._parameters
        and all(len(owners.get(memory_of(p), ())) <= 1 for p in own if p is not None)
    )
