"""The state dict of a quantized model with integers in place of on-grid weights."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmptq.utils.errors import QuantizationError

from .fake_quantizer import FakeQuantizer
from .functional import dequantize, quantize
from .layers import QuantMixin
from .packing import pack_integers, packed_size, unpack_integers
from .scheme import QScheme

# Not '.weight': a loader that does not know mmptq must not find weights in it.
PACKED = 'packed_weight'
SLOTS = ('weight_quantizer', 'input_quantizer')
ZERO_POINT = '_quantizer.zero_point'
MULTIPLIER = '.input_multiplier'


def pack_state(model: nn.Module, state: dict[str, Tensor]) -> dict[str, dict]:
    """Replace, in place, quantized weights by integers and zero points by their smallest type.

    Args:
        model (nn.Module): Quantized and frozen; every quantized weight is on its grid.
        state (dict): Its state dict.

    Returns:
        dict: What ``unpack_state`` needs: by the key of each weight its scheme, shape and type.

    Raises:
        QuantizationError: If a weight is not on its grid.
    """
    # A layer under several names keeps sharing its tensors, and a file holds them once.
    table, packed, narrowed = {}, {}, {}
    owners = Counter(
        id(weight) for module in model.modules() for weight in module._parameters.values()
    )
    for name, layer, scheme in _quantized_weights(model):
        key = f'{name}.weight'
        if id(layer) not in packed:
            tied = owners[id(layer.weight)] > 1
            packed[id(layer)] = _integers(name, layer, scheme, tied)
        if packed[id(layer)] is None:
            continue
        state[key] = packed[id(layer)]
        kind = str(layer.weight.dtype).removeprefix('torch.')
        table[key] = dict(scheme=scheme.to_dict(), shape=list(layer.weight.shape), dtype=kind)
    for key, bits, signed in _zero_points(model):
        pointer = state[key].data_ptr()
        if pointer not in narrowed:
            narrowed[pointer] = _narrow(state[key], _zero_point_type(bits, signed))
        state[key] = narrowed[pointer]
    _rename(state, {key: f'{key.removesuffix("weight")}{PACKED}' for key in table})
    return table


def unpack_state(state: dict[str, Tensor], table: dict[str, dict]) -> None:
    """Bring back, in place, the state dict that ``pack_state`` was given, bit for bit.

    Raises:
        QuantizationError: If a tensor is missing or of the wrong size.
    """
    for key, entry in table.items():
        prefix = key.removesuffix('weight')
        names = [f'{prefix}{name}' for name in (PACKED, 'weight_quantizer.scale')]
        names.append(f'{prefix}weight_quantizer.zero_point')
        missing = [name for name in names if name not in state]
        if missing:
            raise QuantizationError(
                f"the quantized checkpoint lacks '{missing[0]}': it is damaged, make it again"
            )
        packed, scale, zero_point = (state[name] for name in names)
        try:
            scheme = QScheme(**entry['scheme'])
            codes = unpack_integers(packed, scheme.bits, bool(scheme.signed), entry['shape'])
            weight = dequantize(codes, scale, zero_point.int(), scheme)
            state[names[0]] = weight.to(getattr(torch, entry['dtype']))
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise QuantizationError(
                f"'{names[0]}' of the quantized checkpoint does not fit its description "
                f'({error}): the file is damaged, make it again'
            ) from error
    for key, value in state.items():
        if key.endswith(ZERO_POINT):
            state[key] = value.to(torch.int32)
    _rename(state, {f'{key.removesuffix("weight")}{PACKED}': key for key in table})


def model_size(model: nn.Module) -> tuple[int, int]:
    """Bytes of all tensors of a quantized model in float32, and as ``pack_state`` leaves them.

    Scales and zero points belong to the second number only.
    """
    state = model.state_dict()
    original = {
        key: value.numel() * (4 if value.is_floating_point() else value.element_size())
        for key, value in state.items()
        if not any(f'{slot}.' in key for slot in SLOTS) and not key.endswith(MULTIPLIER)
    }
    stored = {key: value.nbytes for key, value in state.items()}
    for name, layer, scheme in _quantized_weights(model):
        stored[f'{name}.weight'] = packed_size(layer.weight.numel(), scheme.bits)
    for key, bits, signed in _zero_points(model):
        stored[key] = state[key].numel() * _zero_point_type(bits, signed).itemsize
    # Tensors under several names are stored once.
    first = {value.data_ptr(): key for key, value in reversed(state.items()) if value.numel()}
    once = set(first.values())
    return tuple(sum(n for key, n in sizes.items() if key in once) for sizes in (original, stored))


def _quantized_weights(model: nn.Module) -> Iterator[tuple[str, QuantMixin, QScheme]]:
    """Layers with a quantized weight under each of their names."""
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, QuantMixin) and isinstance(module.weight_quantizer, FakeQuantizer):
            yield name, module, module.weight_quantizer.scheme


def _zero_points(model: nn.Module) -> Iterator[tuple[str, int, bool]]:
    """Keys of all zero points in the state dict, with the bits and sign of the grid."""
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, QuantMixin):
            for slot in SLOTS:
                scheme = getattr(getattr(module, slot), 'scheme', None)
                if scheme is not None:
                    yield f'{name}.{slot}.zero_point', scheme.bits, bool(scheme.signed)


def _zero_point_type(bits: int, signed: bool) -> torch.dtype:
    if bits > 8:
        return torch.int32
    return torch.int8 if signed else torch.uint8


def _narrow(zero_point: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = zero_point.to(dtype)
    return narrow if torch.equal(narrow.int(), zero_point) else zero_point


def _integers(name: str, layer: QuantMixin, scheme: QScheme, tied: bool) -> Tensor | None:
    """The packed weight of a layer; None where only the grid of another layer holds it."""
    weight, quantizer = layer.weight.detach(), layer.weight_quantizer
    qparams = quantizer.scale, quantizer.zero_point
    codes = quantize(weight, *qparams, scheme)
    exact = dequantize(codes, *qparams, scheme).to(weight.dtype)
    if not quantizer.calibrated or not torch.equal(exact, weight):
        if tied:
            return None
        raise QuantizationError(
            f"the weight of '{name}' is not on its grid: calibrate and freeze(model) before it is "
            'saved'
        )
    return pack_integers(codes, scheme.bits, bool(scheme.signed))


def _rename(state: dict[str, Tensor], names: dict[str, str]) -> None:
    """Give keys other names in place: order and attributes of the dict stay."""
    items = list(state.items())
    state.clear()
    state.update((names.get(key, key), value) for key, value in items)
