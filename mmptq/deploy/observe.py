"""Grids of tensors inside of an ONNX graph, from calibration data."""

from collections.abc import Callable

import torch
from mmengine.registry import TASK_UTILS
from rich.progress import track
from torch import Tensor

from mmptq.quantization import QScheme
from mmptq.quantization.backend import BackendProfile

from .engines import require_engine
from .graph import Graph
from .qdq import Grid

# x * sigmoid(x) is 0 to within 0.003 below this: levels spent there would be lost.
SILU_FLOOR = -8.0


def make_observe(
    graph: Graph, profile: BackendProfile, inputs: list[Tensor]
) -> Callable[[list[str]], dict[str, Grid]]:
    """A function that runs the graph as it is and gives grids of some of its tensors.

    Args:
        graph (Graph): With pairs on layer inputs, so that ranges are those of the quantized model.
        profile (BackendProfile): Its ``act`` is the scheme, its ``observer`` finds the range.
        inputs (list[Tensor]): Calibration inputs of the graph.
    """

    def observe(tensors: list[str]) -> dict[str, Grid]:
        if not tensors:
            return {}
        scheme = QScheme(bits=8, **profile.act)
        observers = {
            tensor: TASK_UTILS.build(dict(profile.observer, scheme=scheme)) for tensor in tensors
        }
        session = _open(graph, tensors)
        silu_inputs = {tensor for tensor in tensors if feeds_silu(graph, tensor)}
        for x in track(inputs, 'observe'):
            values = session.run(tensors, {session.get_inputs()[0].name: x.numpy()})
            for (tensor, observer), value in zip(observers.items(), values, strict=True):
                value = torch.from_numpy(value)
                observer.update(value.clamp(min=SILU_FLOOR) if tensor in silu_inputs else value)
        return {tensor: _grid(observer, scheme) for tensor, observer in observers.items()}

    return observe


def feeds_silu(graph: Graph, tensor: str) -> bool:
    """Whether a tensor x is only used as x * sigmoid(x)."""
    consumers = graph.consumers(tensor)
    sigmoids = {node.output[0] for node in consumers if node.op_type == 'Sigmoid'}
    products = [node for node in consumers if node.op_type != 'Sigmoid']
    return bool(sigmoids and products) and all(
        node.op_type == 'Mul' and sigmoids & set(node.input) for node in products
    )


def _grid(observer, scheme: QScheme) -> Grid:
    scale, zero_point = observer.qparams()
    return Grid(scale.item(), int(zero_point.item()), bool(scheme.signed))


def _open(graph: Graph, tensors: list[str]):
    """A session of a copy of the graph that has these tensors as outputs."""
    runtime = require_engine('onnxruntime')
    model = graph.with_outputs(tensors)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # Optimised, a tensor that is asked for may not exist any more.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
