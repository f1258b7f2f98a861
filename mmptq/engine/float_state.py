"""Float checkpoints of any origin, as the one state dict that is both checked and loaded."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.quantization import QuantizationError

# Where checkpoints keep their weights: mmengine's (the averaged ones, where it averages), others'.
CONTAINERS = ('state_dict', 'model', 'model_state_dict', 'ema_state_dict')
# What DataParallel, torch.compile, FSDP and activation checkpointing put into names.
WRAPPERS = ('module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')
# Models inside of models, in the order in which they are taken.
PARTS = ('teacher.', 'detector.', 'model.', 'net.', 'student.')
MISMATCH = re.compile(r'size mismatch for ([^:\s]+)')
COUNTER = 'num_batches_tracked'


def load_float(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Check the weights of a float checkpoint against a model, and load them.

    Args:
        model (nn.Module): The bare model, see ``unwrap``.
        checkpoint (dict): As it was read; its ``state_dict`` becomes what was loaded, so that a
            runner that loads it again loads the same.

    Raises:
        QuantizationError: If it holds no weights, or they do not fit the architecture.
    """
    state = checkpoint['state_dict'] = float_state(checkpoint, model)
    try:
        # The torch function, which raises an error for shapes even if it is not strict, and lets
        # layers convert what earlier versions of them saved.
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        names = MISMATCH.findall(str(error))
        problem = 'has another shape for' if names else 'cannot be loaded into'
        raise _misfit(problem, names or [' '.join(str(error).split())[:200]]) from error
    missing = [key for key in missing if not key.endswith(COUNTER)]
    if missing:
        raise _misfit('lacks', missing)
    if unexpected:
        MMLogger.get_current_instance().warning(
            f'{len(unexpected)} keys of the checkpoint are not used: {", ".join(unexpected[:5])}'
        )


def _misfit(problem: str, names: list[str]) -> QuantizationError:
    return QuantizationError(
        f'the checkpoint {problem} {len(names)} keys of the model, the first is '
        f"'{names[0]}': its architecture differs from that of the config"
    )


def float_state(checkpoint: dict[str, Any], model: nn.Module) -> OrderedDict:
    """The weights of a checkpoint under the names of a model.

    Names lose what wrappers put into them (``module.``), the part of a larger model is taken
    where it is all that fits (``teacher.``, ``detector.``), half precision becomes the type of the
    model.

    Args:
        checkpoint (dict): As it was read: with ``state_dict``, with ``model``, or bare.
        model (nn.Module): The model.

    Raises:
        QuantizationError: If it holds no weights, or several models that fit.
    """
    weights, own = weights_of(checkpoint), model.state_dict()
    state = _renamed(weights, lambda name: _without_wrappers(name, own))
    required = [key for key in own if not key.endswith(COUNTER)]
    if any(key not in state for key in required):
        part = _part_of(state, required)
        if part:
            inside = {key: value for key, value in state.items() if key.startswith(part)}
            inside = OrderedDict(inside)
            inside._metadata = state._metadata
            state = _renamed(inside, lambda name: name.removeprefix(part))
    for key, value in state.items():
        if key in own and own[key].is_floating_point() and value.is_floating_point():
            state[key] = value.to(own[key].dtype)
    _mark_spconv2(state, model)
    return state


def weights_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, with the versions of the modules."""
    for name in CONTAINERS:
        found = checkpoint.get(name)
        if isinstance(found, Mapping) and any(isinstance(v, Tensor) for v in found.values()):
            break
    else:
        found = checkpoint
    tensors = OrderedDict((k, v) for k, v in found.items() if isinstance(v, Tensor))
    if not tensors:
        keys = ', '.join(f"'{key}'" for key in list(checkpoint)[:5])
        raise QuantizationError(
            f'the checkpoint holds no weights (its keys are {keys}): save it with '
            "'state_dict', or as a bare state dict"
        )
    tensors._metadata = getattr(found, '_metadata', None)
    return tensors


def _renamed(state: OrderedDict, rename: Callable[[str], str]) -> OrderedDict:
    """A state dict under other names, and the versions of its modules under theirs."""
    result = OrderedDict((rename(key), value) for key, value in state.items())
    versions = state._metadata or {}
    # A module's own name gets a stand-in for the name of a weight.
    result._metadata = OrderedDict(
        (rename(f'{name}.' if name else '').removesuffix('.'), value)
        for name, value in versions.items()
    )
    return result


def _without_wrappers(name: str, own: Mapping[str, Any]) -> str:
    """A name as the model has it: without wrappers, unless its own name holds such a word."""
    rest = name
    while rest not in own and rest.partition('.')[0] in WRAPPERS:
        rest = rest.partition('.')[2]
    if rest in own:
        return rest
    return '.'.join(part for part in name.split('.') if part not in WRAPPERS)


def _part_of(state: Mapping[str, Any], required: list[str]) -> str | None:
    """The prefix under which a state dict holds all that a model requires."""
    first = f'.{required[0]}' if required else ''
    prefixes = [key[: -len(first) + 1] for key in state if first and key.endswith(first)]
    fitting = [prefix for prefix in prefixes if all(prefix + key in state for key in required)]
    if not fitting:
        return None
    known = [prefix for prefix in PARTS if prefix in fitting]
    if len(fitting) > 1 and not known:
        raise QuantizationError(
            f'the checkpoint holds several models that fit, under {", ".join(fitting)}: save '
            'the weights of one of them'
        )
    part = (known or fitting)[0]
    others = [prefix for prefix in fitting if prefix != part]
    MMLogger.get_current_instance().warning(
        f"the checkpoint is of a larger model: its weights under '{part}' are taken"
        + (f', those under {", ".join(others)} are not' if others else '')
    )
    return part


def _mark_spconv2(state: OrderedDict, model: nn.Module) -> None:
    """Note that kernels already have the axis order of spconv 2, where their shape says so.

    mmdet3d permutes the kernels of a state dict that has lost the versions of its modules.
    """
    for name, module in model.named_modules():
        weight = getattr(module, 'weight', None)
        key = f'{name}.weight'
        sparse = type(module).__module__.startswith('spconv.') and isinstance(weight, Tensor)
        if sparse and key in state and state[key].shape == weight.shape:
            state._metadata.setdefault(name, {}).setdefault('version', 2)
