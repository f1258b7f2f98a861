"""The weights of a checkpoint, float or quantized, in a freshly built float model."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmptq.compat.empty_scans import accept_empty_scans
from mmptq.compat.quantized_loading import set_quantized_loader
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    QuantPlan,
    product_quantizers,
    quantized_layers,
    rebuild,
)
from mmptq.quantization.packed_state import PACKED, SLOTS
from mmptq.utils.models import unwrap

from .checkpoint import check_keys, plan_of, read_checkpoint, unpack_checkpoint
from .float_state import load_float
from .sealed_state import description_of


def load_weights(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Load a checkpoint, float or quantized, into a freshly built float model.

    Args:
        model (nn.Module): In any wrapper; it becomes quantized where the checkpoint is.
        checkpoint (dict): As it was read. Its ``state_dict`` becomes an ordinary one, of what was
            loaded.

    Raises:
        QuantizationError: If the checkpoint does not fit the model.
    """
    model, plan = unwrap(model), plan_of(checkpoint)
    if plan is None:
        accept_empty_scans(model)
        load_float(model, checkpoint)
    else:
        unpack_checkpoint(checkpoint)
        load_into(model, plan, checkpoint['state_dict'])


def load_quantized(model: nn.Module, path: str | Path) -> nn.Module:
    """Turn a freshly built float model into the quantized one of a checkpoint.

    Args:
        model (nn.Module): Built from the config that the checkpoint was made with.
        path (str | Path): The quantized checkpoint.

    Returns:
        nn.Module: The same object, quantized, in eval mode.
    """
    checkpoint = read_checkpoint(path)
    if plan_of(checkpoint) is None:
        raise QuantizationError(
            f"checkpoint '{path}' is not quantized: quantize it with tools/ptq.py"
        )
    load_weights(model, checkpoint)
    return model.eval()


def load_into(model: nn.Module, plan: QuantPlan, state: dict[str, Tensor]) -> None:
    """Convert a freshly built float model by a plan and load the weights strictly.

    A model that is quantized by the same plan already gets the weights only.
    """
    if quantized_layers(model):
        _check_same_plan(model, plan)
    else:
        rebuild(model, plan)
    accept_empty_scans(model)
    check_keys(model, state, strict=True)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[:300]
        raise QuantizationError(
            f'the quantized checkpoint does not fit the model ({reason}): use the config that it '
            'was made with'
        ) from error


def _check_same_plan(model: nn.Module, plan: QuantPlan) -> None:
    modules = dict(model.named_modules())
    found = {name.rpartition('.products.')[0] for name in product_quantizers(model)}
    if found != set(plan.products):
        raise QuantizationError(
            'the model is quantized already, and differs from the checkpoint in its products of '
            'two activations: build the model again before the checkpoint is loaded'
        )
    for layer in plan.layers:
        multiplier = getattr(modules.get(layer.name), 'input_multiplier', None) is not None
        for tensor, scheme in (('weight', layer.weight), ('input', layer.act)):
            slot = getattr(modules.get(layer.name), f'{tensor}_quantizer', None)
            found = slot.scheme if isinstance(slot, FakeQuantizer) else None
            if found != scheme or multiplier != layer.multiplier:
                raise QuantizationError(
                    f"the model is quantized already, and differs from the checkpoint in '"
                    f"{layer.name}': build the model again before the checkpoint is loaded"
                )


def load_quantized_state(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """Load a quantized state dict where mmengine is about to load what fits.

    Args:
        model (nn.Module): In any wrapper.
        state (dict): Any state dict; it is not changed.

    Returns:
        bool: Whether it was a quantized one.

    Raises:
        QuantizationError: If it is a part of a quantized one, or does not fit the model.
    """
    if description_of(state) is not None:
        copied = OrderedDict(state)
        copied._metadata = state._metadata
        load_weights(model, {'state_dict': copied})
        return True
    own = unwrap(model).state_dict()
    endings = (f'.{PACKED}', *(f'.{slot}.scale' for slot in SLOTS))
    for key in state:
        if isinstance(key, str) and key.endswith(endings) and key not in own:
            raise QuantizationError(
                f"'{key}' belongs to a quantized model, of which a part cannot be loaded, nor a "
                'file of an earlier mmptq by this function: use mmptq.load(model, path)'
            )
    return False


set_quantized_loader(load_quantized_state)
