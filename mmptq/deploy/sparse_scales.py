"""Scales of sparse convolutions in a side file, because ONNX has no operator for them."""

from pathlib import Path
from typing import Any

from torch import nn

from mmptq.quantization import FakeQuantizer, QuantMixin
from mmptq.quantization.layers.sparse import SPARSE_CONVS
from mmptq.utils.files import write_json

HOW_TO_BUILD = (
    'Each entry is one sparse convolution in order of execution, with its BatchNorm folded in. '
    'Weights are (out, kernel..., in) of the checkpoint, already on their grid: integer = weight '
    '/ weight_scale[out]. Build each layer in the sparse engine with int8 weights, a float bias, '
    'the range input_low..input_high for its input, and ReLU after it. Its output takes the range '
    'of the next entry; the last output is the float BEV input of the ONNX file. Inputs of 16 '
    'bits stay in half precision.'
)


def write_sparse_scales(detector: nn.Module, subgraph: nn.Module, path: str | Path) -> bool:
    """Write scales of the quantized sparse convolutions of a detector, if it has any.

    Args:
        detector (nn.Module): Quantized.
        subgraph (nn.Module): The part of it that is in the ONNX file.
        path (str | Path): JSON file.

    Returns:
        bool: Whether there were any.
    """
    inside = set(subgraph.modules())
    layers = [
        describe_layer(name, layer)
        for name, layer in detector.named_modules()
        if isinstance(layer, QuantMixin)
        and isinstance(layer, SPARSE_CONVS or ())
        and layer not in inside
    ]
    if layers:
        write_json(dict(how_to_build=HOW_TO_BUILD, layers=layers), path)
    return bool(layers)


def describe_layer(name: str, layer: nn.Module) -> dict[str, Any]:
    """Kind, geometry and scales of one sparse convolution as plain data."""
    entry = dict(
        name=name,
        kind=type(layer).__name__.removeprefix('Quant'),
        in_channels=layer.in_channels,
        out_channels=layer.out_channels,
        kernel_size=list(layer.kernel_size),
        stride=list(layer.stride),
        padding=list(layer.padding),
        indice_key=layer.indice_key,
    )
    weight, act = layer.weight_quantizer, layer.input_quantizer
    if isinstance(weight, FakeQuantizer):
        entry.update(
            weight_bits=weight.scheme.bits,
            weight_scale=weight.scale.tolist(),
            weight_zero_point=weight.zero_point.tolist(),
        )
    if isinstance(act, FakeQuantizer):
        levels = act.scale.new_tensor([act.scheme.qmin, act.scheme.qmax])
        low, high = ((levels - act.zero_point) * act.scale).tolist()
        entry.update(
            input_bits=act.scheme.bits,
            input_scale=act.scale.item(),
            input_zero_point=act.zero_point.item(),
            input_low=low,
            input_high=high,
        )
    return entry
