"""One scale per pyramid level for layers that all levels share.

A head that runs on all levels of a pyramid has one scale per layer in the model, which must cover
the widest level. In the file every level has its own nodes, and engines accept a different scale
for each: coarse levels often use half of the range, and would lose one bit.
"""

from torch import Tensor

from mmptq.deploy.observe import values_of
from mmptq.quantization import FakeQuantizer, choose_qparams

from .graph import Graph
from .qdq import TensorQParams, insert_pair

# A level gets its own scale only if that is smaller than this share of the layer's scale.
LARGEST_STEP = 0.9


def place_per_level_qparams(
    graph: Graph,
    calls: dict[str, list[str]],
    quantizers: dict[str, FakeQuantizer],
    inputs: list[Tensor],
) -> dict[str, TensorQParams]:
    """Narrow the grids of layers that run at several sizes to what each size uses.

    A range is never widened: clipped values stay clipped. Calls on tensors of the same size share a
    grid, because networks that pass messages from row to row call a layer dozens of times on slices
    that are concatenated afterwards.

    Args:
        graph (Graph): With pairs on layer inputs.
        calls (dict[str, list[str]]): Tensors that each input quantizer was placed on, see
            ``place_layer_quantizers``.
        quantizers (dict[str, FakeQuantizer]): By the same names.
        inputs (list[Tensor]): Calibration inputs of the graph.

    Returns:
        dict[str, TensorQParams]: The new grids, by tensor.
    """
    shared = {name: tensors for name, tensors in calls.items() if len(set(tensors)) > 1}
    watched = list(dict.fromkeys(tensor for tensors in shared.values() for tensor in tensors))
    if not watched:
        return {}
    shapes, ranges = _observe(graph, watched, inputs)
    found = {}
    for name, tensors in shared.items():
        quantizer = quantizers[name]
        for shape in dict.fromkeys(shapes[tensor] for tensor in tensors):
            level = [tensor for tensor in tensors if shapes[tensor] == shape]
            low = min(ranges[tensor][0] for tensor in level)
            high = max(ranges[tensor][1] for tensor in level)
            qparams = _narrowed(quantizer, low, high)
            if qparams.scale < LARGEST_STEP * quantizer.scale.item():
                for tensor in level:
                    _replace(graph, tensor, TensorQParams.of(quantizer), qparams)
                    found[tensor] = qparams
    return found


def _observe(
    graph: Graph, tensors: list[str], inputs: list[Tensor]
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[float, float]]]:
    """Shapes on the first input, and smallest and largest value on all of them."""
    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for values in values_of(graph, tensors, inputs):
        for tensor, value in values.items():
            shapes.setdefault(tensor, tuple(value.shape))
            low, high = ranges.get(tensor, (0.0, 0.0))
            array = value.numpy()
            ranges[tensor] = float(array.min(initial=low)), float(array.max(initial=high))
    return shapes, ranges


def _narrowed(quantizer: FakeQuantizer, low: float, high: float) -> TensorQParams:
    """The grid of the part of a quantizer's range that lies within these ends."""
    scheme, scale, zero_point = quantizer.scheme, quantizer.scale, quantizer.zero_point
    ends = (scheme.qmin - zero_point) * scale, (scheme.qmax - zero_point) * scale
    scale, zero_point = choose_qparams(ends[0].clamp(min=low), ends[1].clamp(max=high), scheme)
    return TensorQParams(scale.item(), int(zero_point.item()), bool(scheme.signed))


def _replace(graph: Graph, tensor: str, old: TensorQParams, new: TensorQParams) -> None:
    before = insert_pair(graph, tensor, old)
    graph.rewire(before, insert_pair(graph, tensor, new))
