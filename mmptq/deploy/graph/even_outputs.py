"""8-bit outputs of layers with uneven channels, for engines that write them with one scale."""

from dataclasses import dataclass

import numpy as np
import torch
from onnx import NodeProto
from torch import Tensor
from torch.nn import functional as F

from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.observe import SILU_FLOOR, feeds_silu, values_of
from mmptq.ptq.search.channel_grid import NUM_VALUES, find_own_grids, sampled_rows
from mmptq.quantization import QScheme

from .graph import Graph
from .multipliers import PRODUCERS, find_multipliers, scale_outputs
from .qdq import DEQUANTIZED, QUANTIZED, is_dequantized


@dataclass
class EvenOutput:
    """The grids of the channels of a layer's output.

    Attributes:
        steps (np.ndarray): (C,).
        zero_points (np.ndarray): (C,) int64.
        dtype (type): Of the integers: np.uint8 or np.int8.
    """

    steps: np.ndarray
    zero_points: np.ndarray
    dtype: type


def outputs_before_multipliers(graph: Graph) -> list[str]:
    """Outputs of the layers in integers whose channels a later multiplier evens out."""
    waiting = [node.input[0] for node in find_multipliers(graph)]
    found: dict[str, None] = {}
    seen: set[str] = set()
    while waiting:
        tensor = waiting.pop()
        producer = graph.producer(tensor)
        if tensor in seen or producer is None or producer.op_type == 'DequantizeLinear':
            continue
        seen.add(tensor)
        if producer.op_type in PRODUCERS:
            if all(is_dequantized(graph, name) for name in producer.input[:2]):
                found[tensor] = None
        else:
            waiting.extend(producer.input)
    return list(found)


def observe_even_outputs(
    graph: Graph, profile: ExportProfile, tensors: list[str], inputs: list[Tensor]
) -> dict[str, EvenOutput]:
    """Factors and scales of layer outputs from calibration data.

    Args:
        graph (Graph): With pairs on layer inputs; not changed.
        profile (ExportProfile): Its ``limits.act`` is the scheme.
        tensors (list[str]): Outputs of layers.
        inputs (list[Tensor]): Calibration inputs of the graph.
    """
    if not tensors:
        return {}
    count = -(-NUM_VALUES // len(inputs))
    rows: dict[str, list[Tensor]] = {name: [] for name in tensors}
    silu_inputs = {name for name in tensors if feeds_silu(graph, name)}
    for values in values_of(graph, tensors, inputs):
        for name in tensors:
            value = values[name].clamp(min=SILU_FLOOR) if name in silu_inputs else values[name]
            rows[name].append(sampled_rows(value, 1, count))
    scheme = QScheme(bits=8, **profile.limits.act)
    return {
        name: _even(torch.cat(found, 1), scheme, name in silu_inputs)
        for name, found in rows.items()
    }


def _even(rows: Tensor, scheme: QScheme, before_silu: bool) -> EvenOutput:
    steps, zero_points = find_own_grids(rows, scheme, F.silu if before_silu else None)
    dtype = np.int8 if scheme.signed else np.uint8
    return EvenOutput(steps.double().numpy(), zero_points.numpy(), dtype)


def place_even_outputs(graph: Graph, outputs: dict[str, EvenOutput]) -> int:
    """Quantize these outputs; returns how many could be, the others stay float."""
    return sum(
        insert_even_pair(graph, graph.producer(name), even) for name, even in outputs.items()
    )


def insert_even_pair(graph: Graph, layer: NodeProto, even: EvenOutput) -> bool:
    """Quantize the output of a layer with a grid for each channel, which its kernel writes as one.

    The layer makes ``y * factor + shift``, in which all channels have the same grid. What follows
    dequantizes with one scale and zero point for each channel.

    Args:
        graph (Graph): Edited in place.
        layer (NodeProto): A convolution in integers.
        even (EvenOutput): The grids.

    Returns:
        bool: Whether that was possible.
    """
    output, unit = layer.output[0], float(np.exp(np.log(even.steps).mean()))
    lowest = np.iinfo(even.dtype).min
    shifts = (even.zero_points - lowest) * unit  # the common zero point is the lowest level
    if not scale_outputs(graph, layer, unit / even.steps, shifts):
        return False
    name = f'{output}_even'
    graph.set_output(layer, name)
    scale = graph.store(f'{name}_scale', np.array(unit, np.float32))
    zero_point = graph.store(f'{name}_zero_point', np.array(lowest, even.dtype))
    graph.add('QuantizeLinear', [name, scale, zero_point], name + QUANTIZED)
    # A DequantizeLinear with many scales is several times slower in ONNX Runtime.
    graph.add('DequantizeLinear', [name + QUANTIZED, scale, zero_point], name + DEQUANTIZED)
    weight = graph.array(graph.producer(layer.input[1]).input[0])
    shape = (-1, *[1] * (weight.ndim - 2))
    steps = graph.store(f'{name}_steps', (even.steps / unit).reshape(shape).astype(np.float32))
    zeros = (-shifts * even.steps / unit).reshape(shape).astype(np.float32)
    graph.add('Mul', [name + DEQUANTIZED, steps], f'{name}_scaled')
    graph.add('Add', [f'{name}_scaled', graph.store(f'{name}_zeros', zeros)], output)
    return True
