"""Channel multipliers in files: folded where that is exact, and the same in every engine."""

import numpy as np
import onnx
import pytest
import torch
from deploy_models import profile_of
from torch.nn import functional as F
from uneven_models import (
    INT8,
    UnevenDetector,
    decibel,
    quantized,
    quantized_with_multiplier,
    uneven_inputs,
)

from mmptq.deploy import build_model
from mmptq.deploy.engines import find_engine
from mmptq.deploy.export import export_quantized
from mmptq.deploy.file_form import FileForm
from mmptq.deploy.graph.even_outputs import EvenOutput, insert_even_pair
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.multipliers import find_multipliers, scale_outputs
from mmptq.deploy.graph.qdq import separate_biases
from mmptq.ptq import ChannelMultiplier


def outputs(run):
    return [torch.as_tensor(run(x)[0]) for x in uneven_inputs()]


@pytest.mark.parametrize(
    ('backend', 'activation', 'layers'),
    [
        ('openvino', F.silu, (4, 0)),
        ('onnxruntime', F.silu, (3, 1)),
        ('onnxruntime', F.relu6, (3, 1)),
    ],
)
def test_engines_compute_what_is_simulated(backend, activation, layers, tmp_path):
    ctx, path = quantized_with_multiplier(tmp_path, activation), tmp_path / 'a.onnx'
    form = FileForm(dynamic=False)
    export_quantized(ctx.model, profile_of(backend), uneven_inputs(), path, {}, form)
    engine = find_engine(backend)(path, threads=1)
    with torch.no_grad():
        simulated = outputs(ctx.model)
        original = outputs(UnevenDetector(activation))
    deployed = outputs(lambda x: engine.run(x.numpy()))
    assert decibel(deployed, simulated) > 28
    assert decibel(deployed, original) > 28
    assert engine.count_layers() == layers  # ONNX Runtime: small outputs of the network stay float


def test_what_commutes_is_folded(tmp_path):
    for activation, left in ((F.relu, 0), (F.silu, 1)):
        ctx = quantized_with_multiplier(tmp_path, activation)
        model, _ = build_model(ctx.model, profile_of('openvino'), uneven_inputs(), False)
        assert len(find_multipliers(Graph(model))) == left


def test_tensorrt_gets_a_valid_graph(tmp_path):
    signed = dict(INT8, act=dict(bits=8, symmetric=True, signed=True))
    ctx = quantized(tmp_path, ChannelMultiplier(), quantizer=signed)
    profile = profile_of('tensorrt')
    profile.limits.check(ctx.plan.layers)
    model, _ = build_model(ctx.model, profile, uneven_inputs(), False)
    nodes = model.graph.node
    assert [node.op_type for node in nodes].count('Mul') == 2  # that of SiLU, and the factors
    scales = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
    steps = [scales[node.input[1]] for node in nodes if node.op_type == 'QuantizeLinear']
    assert all(step.ndim == 0 for step in steps)


def shared_weight_graph():
    """Two convolutions that take one integer weight."""
    names = ['w', 's', 'z']
    nodes = [
        onnx.helper.make_node('DequantizeLinear', names, ['wf'], axis=0),
        onnx.helper.make_node('Conv', ['x', 'wf', 'b'], ['y']),
        onnx.helper.make_node('Conv', ['x', 'wf', 'b'], ['z1']),
    ]
    info = onnx.helper.make_tensor_value_info
    graph = Graph(
        onnx.helper.make_model(
            onnx.helper.make_graph(
                nodes,
                'g',
                [info('x', 1, [1, 1, 1, 1])],
                [info('y', 1, [1, 2, 1, 1]), info('z1', 1, [1, 2, 1, 1])],
            )
        )
    )
    graph.store('w', np.array([3, 5], np.int8).reshape(2, 1, 1, 1))
    graph.store('s', np.array([1, 2], np.float32))
    graph.store('z', np.zeros(2, np.int8))
    graph.store('b', np.array([1, 10], np.float32))
    return graph


def test_a_weight_that_two_nodes_share_is_scaled_for_one():
    graph = shared_weight_graph()
    assert scale_outputs(graph, graph.producer('y'), np.array([2.0, 0.5]))
    scaled, other = graph.producer('y'), graph.producer('z1')
    assert graph.array(graph.producer(scaled.input[1]).input[1]).tolist() == [2, 1]
    assert graph.array(scaled.input[2]).tolist() == [2, 5]
    assert list(other.input) == ['x', 'wf', 'b']


def test_each_layer_has_a_bias_of_its_own():
    graph = shared_weight_graph()
    separate_biases(graph)
    first, second = (graph.producer(name).input[2] for name in ('y', 'z1'))
    assert first == 'b' and second != 'b'
    assert graph.array(second).tolist() == [1, 10]


def test_even_outputs_by_hand():
    graph = shared_weight_graph()
    even = EvenOutput(np.array([0.5, 2.0]), np.array([10, 100]), np.uint8)
    assert insert_even_pair(graph, graph.producer('y'), even)
    layer = graph.producer('y_even')
    # All channels have steps of 1 and the zero point 0.
    assert graph.array(graph.producer(layer.input[1]).input[1]).tolist() == [2, 1]
    assert graph.array(layer.input[2]).tolist() == [1 * 2 + 10, 10 / 2 + 100]
    (pair,) = graph.consumers('y_even')
    assert [graph.array(name).item() for name in pair.input[1:]] == [1, 0]
    back = graph.producer('y')
    assert graph.array(back.input[1]).ravel().tolist() == [-5, -200]
    scaled = graph.producer(back.input[0])
    assert graph.array(scaled.input[1]).ravel().tolist() == [0.5, 2]
