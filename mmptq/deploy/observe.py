"""Scales of tensors inside of an ONNX graph, from calibration data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from rich.progress import track
from torch import Tensor

from mmptq.deploy.engines.packages import require_package
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.graph.even_silu import gate_of
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.qdq import TensorQParams
from mmptq.quantization import QScheme, QuantizationError
from mmptq.utils.messages import first_line

# x * sigmoid(x) is 0 to within 0.003 below this: levels spent there would be lost.
SILU_FLOOR = -8.0


def make_observe(
    graph: Graph, profile: ExportProfile, inputs: list[Tensor]
) -> Callable[..., dict[str, TensorQParams]]:
    """A function that runs the unchanged graph and returns scales of some of its tensors.

    Its second argument, optional, replaces ``profile.limits.act``.

    Args:
        graph (Graph): With pairs on layer inputs, so that ranges are those of the quantized model.
        profile (ExportProfile): Its ``limits.act`` is the scheme, its ``observer`` finds the range.
        inputs (list[Tensor]): Calibration inputs of the graph.
    """

    def observe(tensors: list[str], act: dict[str, Any] | None = None) -> dict[str, TensorQParams]:
        if not tensors:
            return {}
        scheme = QScheme(bits=8, **(profile.limits.act if act is None else act))
        observers = {
            tensor: TASK_UTILS.build(dict(profile.observer, scheme=scheme)) for tensor in tensors
        }
        silu_inputs = {tensor for tensor in tensors if feeds_silu(graph, tensor)}
        arguments = {tensor for tensor in tensors if feeds_sigmoid(graph, tensor)}
        addends = rectified_addends(graph, tensors)
        gates = {tensor: gate for tensor in tensors if (gate := gate_of(graph, tensor))}
        asked = list(dict.fromkeys([*tensors, *addends.values(), *gates.values()]))
        for values in values_of(graph, asked, inputs):
            for tensor, observer in observers.items():
                value, weight = values[tensor], None
                if tensor in silu_inputs:
                    value = value.clamp(min=SILU_FLOOR)
                elif tensor in arguments:
                    value = value.clamp(SILU_FLOOR, -SILU_FLOOR)
                elif tensor in addends:
                    value = torch.maximum(value, -values[addends[tensor]])
                elif tensor in gates:
                    weight = values[gates[tensor]].square()
                observer.update(value, weight)
        return {tensor: _grid(observer, scheme) for tensor, observer in observers.items()}

    return observe


def values_of(
    graph: Graph, tensors: list[str], inputs: list[Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Values of some tensors of the unchanged graph by name, one input after the other."""
    session = open_unoptimized(graph, tensors)
    for x in track(inputs, 'observe'):
        with runtime_errors():
            feed = {session.get_inputs()[0].name: x.detach().cpu().numpy()}
            results = session.run(tensors, feed)
        yield dict(zip(tensors, map(torch.from_numpy, results), strict=True))


def feeds_sigmoid(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is only used as sigmoid(x), inside of the network."""
    kinds = {node.op_type for node in graph.consumers(tensor)}
    return kinds == {'Sigmoid'} and tensor not in graph.outputs


def feeds_silu(graph: Graph, tensor: str) -> bool:
    """Whether a tensor x is only used as x * sigmoid(x)."""
    consumers = graph.consumers(tensor)
    sigmoids = {node.output[0] for node in consumers if node.op_type == 'Sigmoid'}
    products = [node for node in consumers if node.op_type != 'Sigmoid']
    return bool(sigmoids and products) and all(
        node.op_type == 'Mul' and sigmoids & set(node.input) for node in products
    )


def rectified_addends(graph: Graph, tensors: list[str]) -> dict[str, str]:
    """Tensors that are only used in ReLU(tensor + other), with the other operand.

    Values below -other become 0, so the grid need not cover them: in residual blocks that is often
    more than half of the range. Only one operand of a sum may rely on an exact other one.
    """
    found = {}
    for node in graph.of_type('Add'):
        consumers = graph.consumers(node.output[0])
        if [consumer.op_type for consumer in consumers] != ['Relu']:
            continue
        for tensor, other in (node.input, reversed(node.input)):
            computed = graph.producer(other) is not None
            if tensor in tensors and computed and graph.consumers(tensor) == [node]:
                found[tensor] = other
                break
    return found


def _grid(observer, scheme: QScheme) -> TensorQParams:
    scale, zero_point = observer.qparams()
    return TensorQParams(scale.item(), int(zero_point.item()), bool(scheme.signed))


def open_unoptimized(graph: Graph, tensors: list[str]):
    """A session of a copy of the graph that has these tensors as outputs besides its own.

    Raises:
        QuantizationError: If ONNX Runtime cannot load the graph.
    """
    runtime = require_package('onnxruntime')
    model = graph.with_outputs(tensors)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # Optimisation may remove a tensor that is asked for.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with runtime_errors():
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )


@contextmanager
def runtime_errors() -> Iterator[None]:
    """Turn errors of ONNX Runtime into a sentence."""
    try:
        yield
    except Exception as error:  # of its own types
        raise QuantizationError(
            'ONNX Runtime, which observes the exported graph, cannot run it '
            f'({first_line(error)}): choose another --opset or --backend'
        ) from error
