"""Transposed convolutions as 1x1 convolutions, for engines without an integer kernel for them."""

import numpy as np
from onnx import NodeProto

from .extra_quantizers import FUSED
from .graph import Graph, attribute
from .qdq import DEQUANTIZED, QUANTIZED


def unfold_transposed_convs(graph: Graph) -> None:
    """Replace integer transposed convolutions whose windows do not overlap.

    With a kernel as large as its stride every input pixel makes its own block of output pixels: a
    1x1 convolution to as many channels as the block has values, and a rearrangement of them. The
    products and sums are the same, and so are the results.

    Args:
        graph (Graph): With pairs on layer inputs; edited in place.
    """
    for node in graph.of_type('ConvTranspose'):
        weight = graph.producer(node.input[1])
        if weight is not None and weight.op_type == 'DequantizeLinear' and _is_block(graph, node):
            _unfold(graph, node, weight)


def _is_block(graph: Graph, node: NodeProto) -> bool:
    stride = attribute(node, 'strides', [1, 1])
    return (
        list(attribute(node, 'kernel_shape')) == list(stride)
        and stride[0] == stride[1]
        and not any(attribute(node, 'pads', [0]))
        and not any(attribute(node, 'output_padding', [0]))
        and attribute(node, 'group', 1) == 1
    )


def _unfold(graph: Graph, node: NodeProto, weight: NodeProto) -> None:
    integers, scale, zero_point = (graph.array(name) for name in weight.input)
    block = integers.shape[2] * integers.shape[3]
    layer = weight.output[0].removesuffix(DEQUANTIZED)
    names = [f'{layer}_unfolded{suffix}' for suffix in (QUANTIZED, '_scale', '_zero_point')]
    # (in, out, kh, kw) to (out x kh x kw, in, 1, 1)
    unfolded = integers.transpose(1, 2, 3, 0).reshape(-1, integers.shape[0], 1, 1)
    graph.store(names[0], unfolded)
    for name, values in zip(names[1:], (scale, zero_point), strict=True):
        graph.store(name, np.repeat(values, block) if values.ndim else values)
    axis = {'axis': 0} if scale.ndim else {}
    inputs = [node.input[0], graph.add('DequantizeLinear', names, names[0] + DEQUANTIZED, **axis)]
    if len(node.input) > 2:
        bias = np.repeat(graph.array(node.input[2]), block)
        inputs.append(graph.store(f'{layer}_unfolded_bias', bias))
    # An activation goes first, so that it is computed inside of the convolution.
    last, output = node, node.output[0]
    consumers = graph.consumers(output)
    result = graph.add('Conv', inputs, f'{output}_unfolded', kernel_shape=[1, 1])
    graph.remove(node)
    if len(consumers) == 1 and consumers[0].op_type in FUSED:
        (last,) = consumers
        output = last.output[0]
        graph.set_input(last, 0, result)
        graph.set_output(last, f'{output}_unfolded')
        result = last.output[0]
    graph.add('DepthToSpace', [result], output, blocksize=attribute(node, 'strides')[0], mode='CRD')
