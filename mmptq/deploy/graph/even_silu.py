"""SiLU between uneven and even channels, in integers throughout."""

import numpy as np
import onnx
from onnx import NodeProto

from .graph import Graph
from .multipliers import PRODUCERS, find_multipliers, multiplier_factors, scale_outputs
from .qdq import DEQUANTIZED, QUANTIZED, is_dequantized

# Multiplications per output of a layer, above which its outputs are scaled back by a depthwise
# convolution; below it is quicker to compute them twice.
FEW = 48


def split_even_silus(graph: Graph) -> list[str]:
    """Replace SiLU and a multiplier by a product whose operands each suit one scale.

    ``m * (x * sigmoid(x))`` becomes ``(m * x) * sigmoid(x)``: m * x has even channels, and the
    sigmoid only needs x between -8 and 8. So engines that run a layer in integers only with an
    8-bit output stay in integers. The multiplier m goes into the scales of the layer before, or of
    a copy of it, which shares the integers of its weight. What else takes the SiLU keeps it.

    Args:
        graph (Graph): With pairs on layer inputs; edited in place.

    Returns:
        list[str]: Products m * x that need a pair before any other is placed.
    """
    waiting: list[str] = []
    for multiplier in find_multipliers(graph):
        product = graph.producer(multiplier.input[0])
        found = None if product is None else _silu(graph, product)
        if found is None:
            continue
        layer, sigmoid = found
        factors = multiplier_factors(graph, multiplier)
        only = graph.consumers(product.output[0]) == [multiplier]
        if only and _multiplications(graph, layer) > FEW and layer.op_type == 'Conv':
            even = _scale_back(graph, layer, factors)
            waiting += [even] if even else []
        else:
            even = _copy(graph, layer, factors, f'{multiplier.output[0]}_even')
        if even is None:
            continue
        graph.add('Mul', [even, sigmoid.output[0]], f'{even}_silu')
        graph.rewire(multiplier.output[0], f'{even}_silu')
        graph.remove(multiplier)
        if only:
            graph.remove(product)
    return waiting


def _silu(graph: Graph, product: NodeProto) -> tuple[NodeProto, NodeProto] | None:
    """The layer and the sigmoid of a product ``x * sigmoid(x)``, if only these read x."""
    if product.op_type != 'Mul' or len(product.input) != 2:
        return None
    for tensor, gate in (product.input, reversed(product.input)):
        layer, sigmoid = graph.producer(tensor), graph.producer(gate)
        if layer is None or sigmoid is None or sigmoid.op_type != 'Sigmoid':
            continue
        alone = {id(node) for node in graph.consumers(tensor)} == {id(product), id(sigmoid)}
        integer = all(is_dequantized(graph, name) for name in layer.input[:2])
        if layer.op_type in PRODUCERS and integer and alone and sigmoid.input[0] == tensor:
            return layer, sigmoid
    return None


def _multiplications(graph: Graph, layer: NodeProto) -> int:
    """For one output."""
    return int(np.prod(_weight(graph, layer).shape[1:]))


def _weight(graph: Graph, layer: NodeProto) -> np.ndarray:
    return graph.array(graph.producer(layer.input[1]).input[0])


def _copy(graph: Graph, layer: NodeProto, factors: np.ndarray, name: str) -> str | None:
    """A copy of a layer with scaled outputs; None where that is not possible."""
    copy = onnx.NodeProto()
    copy.CopyFrom(layer)
    copy.name, copy.output[0] = name, name
    graph.insert(copy)
    if scale_outputs(graph, copy, factors):
        return name
    graph.remove(copy)
    return None


def _scale_back(graph: Graph, layer: NodeProto, factors: np.ndarray) -> str | None:
    """Scale the outputs of a layer; a depthwise convolution gives the old ones again."""
    output, weight = layer.output[0], _weight(graph, layer)
    if not scale_outputs(graph, layer, factors):
        return None
    name, channels = f'{output}_even', len(factors)
    graph.set_output(layer, name)
    ones = np.full((channels, 1, *[1] * (weight.ndim - 2)), 127, np.int8)
    names = [
        graph.store(f'{name}_back{QUANTIZED}', ones),
        graph.store(f'{name}_back_scale', (1 / (127 * factors)).astype(np.float32)),
        graph.store(f'{name}_back_zero_point', np.zeros(channels, np.int8)),
    ]
    back = graph.add('DequantizeLinear', names, f'{name}_back{DEQUANTIZED}', axis=0)
    graph.add('Conv', [name, back], output, group=channels)
    return name


def gate_of(graph: Graph, tensor: str) -> str | None:
    """The sigmoid that a tensor is multiplied with, if it goes into no other sum or product."""
    consumers = graph.consumers(tensor)
    products = [node for node in consumers if node.op_type == 'Mul']
    others = [node for node in consumers if node.op_type not in ('Mul', 'Conv', 'QuantizeLinear')]
    if len(products) != 1 or others:
        return None
    for gate in products[0].input:
        producer = graph.producer(gate)
        if gate != tensor and producer is not None and producer.op_type == 'Sigmoid':
            return gate
    return None
