"""Matrix products of two activations, as in attention."""

from collections.abc import Callable

from onnx import NodeProto

from mmptq.deploy.export_profile import ExportProfile

from .graph import Graph
from .qdq import TensorQParams, insert_pair, is_dequantized, qparams_of_pair


def is_activation_matmul(graph: Graph, node: NodeProto) -> bool:
    """Whether a node multiplies two activations; neither is a stored weight."""
    return node.op_type == 'MatMul' and not any(_is_stored(graph, name) for name in node.input)


def _is_stored(graph: Graph, tensor: str) -> bool:
    source = graph.producer(tensor).input[0] if is_dequantized(graph, tensor) else tensor
    return graph.is_constant(source)


def quantize_matmul_rhs(
    graph: Graph, profile: ExportProfile, observe: Callable[..., dict[str, TensorQParams]]
) -> dict[str, TensorQParams]:
    """Insert the pairs of right operands that need a scheme of their own.

    A product that was simulated has them already.
    """
    if not profile.activation_matmuls or profile.matmul_rhs is None:
        return {}
    nodes = [
        (node, node.input[1])
        for node in graph.of_type('MatMul')
        if is_activation_matmul(graph, node) and not _is_signed(graph, node.input[1])
    ]
    floats = {tensor: _before_pair(graph, tensor) for _, tensor in nodes}
    observed = observe(list(dict.fromkeys(floats.values())), profile.matmul_rhs)
    for node, tensor in nodes:
        source = floats[tensor]
        graph.rewire(tensor, insert_pair(graph, source, observed[source]), [node])
    return observed


def _before_pair(graph: Graph, tensor: str) -> str:
    """The float tensor that a dequantized one was quantized from; else the tensor itself."""
    if not is_dequantized(graph, tensor):
        return tensor
    return graph.producer(graph.producer(tensor).input[0]).input[0]


def _is_signed(graph: Graph, tensor: str) -> bool:
    """Whether a tensor has a pair with signed integers and no zero point."""
    if not is_dequantized(graph, tensor):
        return False
    pair = graph.producer(graph.producer(tensor).input[0])
    return pair is not None and (q := qparams_of_pair(graph, pair)).signed and q.zero_point == 0
