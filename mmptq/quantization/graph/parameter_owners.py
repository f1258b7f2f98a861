"""Which modules own which parameters, told apart by their memory."""

from collections.abc import Mapping

from torch import Tensor, nn


def memory_of(x: Tensor) -> int:
    """Address of the memory of a tensor; views of it have the same. 0 if it has none."""
    try:
        return x.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0


def parameter_owners(modules: Mapping[str, nn.Module]) -> dict[int, set[str]]:
    """Names of the modules that own a parameter or buffer, by its memory.

    Memory that holds several different tensors is left out: it does not tell which one is used.

    Args:
        modules (Mapping[str, nn.Module]): Modules by name.
    """
    owners: dict[int, set[str]] = {}
    starts: dict[int, set[int]] = {}
    for name, module in modules.items():
        own = [*module._parameters.values(), *module._buffers.values()]
        for tensor in (x for x in own if x is not None and x.numel()):
            memory = memory_of(tensor)
            owners.setdefault(memory, set()).add(name)
            starts.setdefault(memory, set()).add(tensor.data_ptr())
    return {m: names for m, names in owners.items() if m and len(starts[m]) == 1}


def computed_weight(module: nn.Module) -> str | None:
    """Why the weight of a layer cannot be written, or None for a parameter of its own."""
    if module._parameters.get('weight') is not None:
        return None
    if 'weight' in module._buffers:
        return 'its weight is a buffer, not a parameter'
    return (
        'its weight is computed in every forward (weight_norm, spectral_norm, pruning): make it a '
        'parameter first, as torch.nn.utils.parametrize.remove_parametrizations does'
    )


def weight_partners(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, set[str]]:
    """Other modules that own the weight of a layer, or share its memory.

    Args:
        model (nn.Module): The model; any of its modules can be a partner.
        layers (Mapping[str, nn.Module]): Layers by first name.

    Returns:
        dict[str, set[str]]: By name of the layer; layers without partners are left out.
    """
    owners: dict[int, dict[nn.Module, str]] = {}
    for name, module in model.named_modules():
        for tensor in [*module._parameters.values(), *module._buffers.values()]:
            if tensor is not None and memory_of(tensor):
                owners.setdefault(memory_of(tensor), {}).setdefault(module, name)
    partners = {}
    for name, layer in layers.items():
        weight = layer._parameters.get('weight')
        if weight is not None:
            found = owners.get(memory_of(weight), {})
            others = {
                other or type(module).__name__
                for module, other in found.items()
                if module is not layer
            }
            if others:
                partners[name] = others
    return partners
