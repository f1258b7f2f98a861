"""From marks of quantizers to QuantizeLinear and DequantizeLinear."""

from dataclasses import dataclass

import numpy as np
import torch
from onnx import NodeProto

from mmptq.deploy.onnx_export import MARKER
from mmptq.quantization import FakeQuantizer, QuantizationError, quantize

from .graph import Graph, attribute

LAYERS = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
WEIGHT_SUFFIX = '.weight_quantizer'
# Suffixes of the tensors that this package adds; the name of the source comes before.
QUANTIZED, DEQUANTIZED = '_quantized', '_dequantized'


@dataclass(frozen=True)
class TensorQParams:
    """Scale and zero point of one activation tensor, as the file stores them.

    Attributes:
        scale (float): Step.
        zero_point (int): The integer that stands for 0.
        signed (bool): Whether the integers are int8; otherwise they are uint8.
    """

    scale: float
    zero_point: int
    signed: bool

    @classmethod
    def of(cls, quantizer: FakeQuantizer) -> 'TensorQParams':
        """The grid of a calibrated per-tensor quantizer."""
        signed = bool(quantizer.scheme.signed)
        return cls(quantizer.scale.item(), int(quantizer.zero_point.item()), signed)

    @property
    def dtype(self) -> type:
        """Integer type of numpy."""
        return np.int8 if self.signed else np.uint8


def insert_pair(graph: Graph, tensor: str, qparams: TensorQParams) -> str:
    """Quantize and dequantize a tensor, or find the pair that does so already.

    Returns:
        str: The dequantized tensor.
    """
    key = f'{tensor}_{qparams.scale!r}_{qparams.zero_point}'
    output = key + DEQUANTIZED
    if graph.producer(output) is None:
        scale = graph.store(f'{key}_scale', np.array(qparams.scale, np.float32))
        zero_point = graph.store(f'{key}_zero_point', np.array(qparams.zero_point, qparams.dtype))
        graph.add('QuantizeLinear', [tensor, scale, zero_point], key + QUANTIZED)
        graph.add('DequantizeLinear', [key + QUANTIZED, scale, zero_point], output)
    return output


def qparams_of_pair(graph: Graph, quantize_node: NodeProto) -> TensorQParams:
    """The grid of a QuantizeLinear node."""
    scale, zero_point = (graph.array(name) for name in quantize_node.input[1:3])
    return TensorQParams(float(scale), int(zero_point), zero_point.dtype == np.int8)


def qparams_of(graph: Graph, tensor: str) -> list[TensorQParams]:
    """The grids that a float tensor is quantized to."""
    nodes = graph.consumers(tensor)
    return [qparams_of_pair(graph, node) for node in nodes if node.op_type == 'QuantizeLinear']


def is_dequantized(graph: Graph, tensor: str) -> bool:
    """Whether a tensor comes out of a pair."""
    producer = graph.producer(tensor)
    return producer is not None and producer.op_type == 'DequantizeLinear'


def place_layer_quantizers(
    graph: Graph, quantizers: dict[str, FakeQuantizer]
) -> dict[str, list[str]]:
    """Turn every mark into a pair on an activation or an integer weight.

    Args:
        graph (Graph): With marks; afterwards without.
        quantizers (dict[str, FakeQuantizer]): By the names that the marks carry.

    Returns:
        dict[str, list[str]]: The activations that each input quantizer was placed on.
    """
    calls: dict[str, list[str]] = {}
    for node in list(graph.of_type('Identity')):
        graph.bypass(node)
    for node in list(graph.of_type(MARKER)):
        name = attribute(node, 'name')
        if name.endswith(WEIGHT_SUFFIX):
            output = _place_weight(graph, node, quantizers[name], name.removesuffix(WEIGHT_SUFFIX))
        else:
            output = insert_pair(graph, node.input[0], TensorQParams.of(quantizers[name]))
            calls.setdefault(name, []).append(node.input[0])
        graph.remove(node)
        graph.rewire(node.output[0], output)
    return calls


def _place_weight(graph: Graph, mark: NodeProto, quantizer: FakeQuantizer, layer: str) -> str:
    weight = graph.array(mark.input[0])
    if weight is None:
        raise QuantizationError(
            f"the weight of '{layer}' is computed and not stored: quantize again with "
            f"--float '{layer}'"
        )
    axis = quantizer.scheme.channel_axis
    integers = integer_weight(weight, quantizer, layer)
    consumers = graph.consumers(mark.output[0])
    if axis is not None and all(node.op_type == 'Transpose' for node in consumers):
        # Engines look for the integers right at the layer, so the transposition is done here.
        for node in consumers:
            order = attribute(node, 'perm')
            integers, axis = integers.transpose(order), list(order).index(axis)
            graph.rewire(node.output[0], mark.output[0])
            graph.remove(node)
    scale = quantizer.scale.detach().cpu().numpy()
    if axis is None:
        scale = scale.reshape(())
    output = f'{layer}.weight{DEQUANTIZED}'
    if graph.producer(output) is None:
        graph.store(f'{layer}.weight{QUANTIZED}', integers)
        graph.store(f'{layer}.weight_scale', scale)
        graph.store(f'{layer}.weight_zero_point', np.zeros(scale.shape, np.int8))
        names = [f'{layer}.weight{suffix}' for suffix in (QUANTIZED, '_scale', '_zero_point')]
        graph.add('DequantizeLinear', names, output, **({} if axis is None else {'axis': axis}))
    return output


def integer_weight(weight: np.ndarray, quantizer: FakeQuantizer, layer: str) -> np.ndarray:
    """The int8 integers of a weight that is on its grid, with the zero point taken out.

    Without their zero point the integers of a 2 to 7 bit weight always fit into int8.

    Raises:
        QuantizationError: For weights with more levels than int8 has around zero.
    """
    scale, zero_point = quantizer.scale.detach().cpu(), quantizer.zero_point.cpu()
    # A copy, because arrays of a file are read-only, and torch warns about that.
    integers = quantize(torch.from_numpy(weight.copy()), scale, zero_point, quantizer.scheme)
    integers = integers - quantizer.scheme.broadcast(zero_point, weight.ndim)
    low, high = int(integers.min()), int(integers.max())
    if low < -128 or high > 127:
        raise QuantizationError(
            f"the weight of '{layer}' uses the integers {low} to {high} around its zero point, "
            'and int8 holds -128 to 127: quantize with symmetric weights'
        )
    return integers.to(torch.int8).numpy()


def separate_biases(graph: Graph) -> None:
    """Give each layer a bias of its own, where heads share one between the levels of a pyramid.

    OpenVINO adds a bias inside of the layer only where no other layer takes it.
    """
    taken: set[str] = set()
    for node in graph.of_type('Conv', 'ConvTranspose', 'Gemm'):
        bias = node.input[2] if len(node.input) > 2 else ''
        if bias in taken and graph.is_constant(bias):
            own = graph.store(f'{node.output[0]}_own_bias', graph.array(bias))
            graph.set_input(node, 2, own)
        taken.add(bias)


def quantize_biases(graph: Graph) -> None:
    """Store the bias of integer convolutions as int32 with the scale of their products.

    ONNX Runtime runs a convolution in integers only with such a bias.
    """
    for node in graph.of_type('Conv', 'Gemm'):
        sources = [graph.producer(name) for name in node.input[:2]]
        if len(node.input) < 3 or any(
            source is None or source.op_type != 'DequantizeLinear' for source in sources
        ):
            continue
        bias = graph.array(node.input[2])
        scale = graph.array(sources[0].input[1]) * graph.array(sources[1].input[1])
        if bias is None:
            continue
        scale = np.broadcast_to(scale, bias.shape)
        integers = np.rint(bias.astype(np.float64) / scale)
        if np.abs(integers).max(initial=0) >= 2**31:
            continue  # a channel without weight; the engine keeps this layer in float
        name = f'{node.output[0]}_bias'
        names = [
            graph.store(name + QUANTIZED, integers.astype(np.int32)),
            graph.store(name + '_scale', scale.astype(np.float32)),
            graph.store(name + '_zero_point', np.zeros(bias.shape, np.int32)),
        ]
        bias = graph.add('DequantizeLinear', names, name + DEQUANTIZED, axis=0)
        graph.set_input(node, 2, bias)
