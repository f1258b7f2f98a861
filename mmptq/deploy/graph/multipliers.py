"""Channel multipliers of layer inputs in an ONNX graph, folded where that is exact."""

import numpy as np
from onnx import NodeProto

from .graph import Graph, attribute
from .qdq import DEQUANTIZED

# f(m * x) = m * f(x) for m > 0.
HOMOGENEOUS = ('Relu', 'LeakyRelu')
PRODUCERS = ('Conv', 'ConvTranspose', 'Gemm')


def find_multipliers(graph: Graph) -> list[NodeProto]:
    """The nodes that multiply an activation by channel right before it is quantized."""
    return [
        node
        for node in graph.of_type('Mul')
        if multiplier_factors(graph, node) is not None
        and all(n.op_type == 'QuantizeLinear' for n in graph.consumers(node.output[0]))
    ]


def multiplier_factors(graph: Graph, node: NodeProto) -> np.ndarray | None:
    """Stored factors (C,) of a Mul of activation and constant; None for any other."""
    if len(node.input) != 2 or graph.is_constant(node.input[0]):
        return None
    array = graph.array(node.input[1])
    return None if array is None or array.ndim == 0 else array.reshape(-1)


def fold_multipliers(graph: Graph) -> int:
    """Take multipliers into the layer before, where only that makes the tensor; exact.

    Multipliers of one tensor by the same factors become one node first.

    Args:
        graph (Graph): With pairs on layer inputs; edited in place.

    Returns:
        int: How many are left.
    """
    _merge_equal(graph)
    nodes = find_multipliers(graph)
    for node in nodes:
        layer = _layer_before(graph, node)
        if layer is not None and scale_outputs(graph, layer, multiplier_factors(graph, node)):
            graph.bypass(node)
    return len(find_multipliers(graph))


def _merge_equal(graph: Graph) -> None:
    seen: dict[tuple[str, bytes], str] = {}
    for node in find_multipliers(graph):
        key = node.input[0], multiplier_factors(graph, node).tobytes()
        first = seen.setdefault(key, node.output[0])
        if first != node.output[0]:
            graph.rewire(node.output[0], first)
            graph.remove(node)


def _layer_before(graph: Graph, node: NodeProto) -> NodeProto | None:
    """The layer whose scaled outputs make the product, through activations that allow it."""
    tensor = node.input[0]
    while True:
        producer = graph.producer(tensor)
        if producer is None or len(graph.consumers(tensor)) != 1 or tensor in graph.outputs:
            return None
        if producer.op_type in PRODUCERS:
            return producer
        if producer.op_type not in HOMOGENEOUS:
            return None
        tensor = producer.input[0]


def scale_outputs(
    graph: Graph, layer: NodeProto, factors: np.ndarray, shifts: np.ndarray | None = None
) -> bool:
    """Multiply the outputs of a layer by channel, and shift them, in its weight and bias.

    The scales of an integer weight change, and its integers stay. Other nodes that take the same
    weight keep theirs.

    Args:
        graph (Graph): Edited in place.
        layer (NodeProto): A convolution or a Gemm.
        factors (np.ndarray): (C,) positive.
        shifts (np.ndarray, optional): (C,), added to the products.

    Returns:
        bool: Whether that was possible.
    """
    if layer.op_type == 'ConvTranspose' and attribute(layer, 'group', 1) != 1:
        return False
    if any(graph.array(name) is None for name in layer.input[2:3]):
        return False
    source = graph.producer(layer.input[1])
    axis = _output_axis(layer)
    if source is None:
        weight = graph.array(layer.input[1])
        if weight is None or weight.shape[axis] != len(factors):
            return False
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        scaled = weight * factors.reshape(shape).astype(weight.dtype)
        graph.set_input(layer, 1, graph.store(f'{layer.output[0]}_scaled_weight', scaled))
    elif not _scale_integers(graph, layer, source, axis, factors):
        return False
    bias = graph.array(layer.input[2]) if len(layer.input) > 2 else None
    if bias is not None or shifts is not None:
        values = (0 if bias is None else bias * factors) + (0 if shifts is None else shifts)
        name = graph.store(f'{layer.output[0]}_scaled_bias', values.astype(np.float32))
        if len(layer.input) < 3:
            layer.input.append('')
        graph.set_input(layer, 2, name)
    return True


def _output_axis(layer: NodeProto) -> int:
    first = layer.op_type == 'Conv' or (layer.op_type == 'Gemm' and attribute(layer, 'transB', 0))
    return 0 if first else 1


def _scale_integers(
    graph: Graph, layer: NodeProto, source: NodeProto, axis: int, factors: np.ndarray
) -> bool:
    if source.op_type != 'DequantizeLinear':
        return False
    integers, scale, zero_point = (graph.array(name) for name in source.input)
    if any(array is None for array in (integers, scale, zero_point)):
        return False
    if integers.shape[axis] != len(factors):
        return False
    if scale.ndim and attribute(source, 'axis', 1) != axis:
        return False
    name = f'{layer.output[0]}_scaled'
    names = [
        source.input[0],
        graph.store(f'{name}_scale', (scale * factors).astype(scale.dtype)),
        graph.store(f'{name}_zero_point', np.broadcast_to(zero_point, factors.shape)),
    ]
    scaled = graph.add('DequantizeLinear', names, name + DEQUANTIZED, axis=axis)
    graph.set_input(layer, 1, scaled)
    return True
