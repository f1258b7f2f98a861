"""SiLU and a channel multiplier as a product of two tensors that each suit one scale."""

import numpy as np
import onnx
import pytest
import torch
from deploy_models import profile_of
from uneven_models import decibel, quantized_with_multiplier, uneven_inputs

from mmptq.deploy.engines import find_engine
from mmptq.deploy.export import export_quantized
from mmptq.deploy.file_form import FileForm
from mmptq.deploy.graph import even_silu
from mmptq.deploy.graph.even_silu import gate_of, split_even_silus
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.observe import open_unoptimized

FACTORS = np.array([4.0, 0.25], np.float32)


def silu_graph(both: bool = False) -> Graph:
    """conv -> SiLU -> multiplier -> quantizer; with ``both`` the SiLU is an output, too."""
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make('QuantizeLinear', ['input', 'one', 'zero'], ['xq']),
        make('DequantizeLinear', ['xq', 'one', 'zero'], ['x']),
        make('DequantizeLinear', ['w', 's', 'z'], ['wf'], axis=0),
        make('Conv', ['x', 'wf', 'b'], ['y']),
        make('Sigmoid', ['y'], ['gate']),
        make('Mul', ['y', 'gate'], ['silu']),
        make('Mul', ['silu', 'factors'], ['even']),
        make('QuantizeLinear', ['even', 'step', 'zero'], ['eq']),
        make('DequantizeLinear', ['eq', 'step', 'zero'], ['out']),
    ]
    outputs = [info('out', 1, [1, 2, 2, 2])]
    if both:
        nodes.append(make('Neg', ['silu'], ['other']))
        outputs.append(info('other', 1, [1, 2, 2, 2]))
    body = onnx.helper.make_graph(nodes, 'g', [info('input', 1, [1, 1, 2, 2])], outputs)
    opset = [onnx.helper.make_opsetid('', 13)]
    graph = Graph(onnx.helper.make_model(body, opset_imports=opset, ir_version=8))
    for name, values in dict(one=1, step=0.001, s=[0.1, 0.2], b=[1, -1]).items():
        graph.store(name, np.array(values, np.float32))
    graph.store('zero', np.array(100, np.uint8))
    graph.store('w', np.array([3, 5], np.int8).reshape(2, 1, 1, 1))
    graph.store('z', np.zeros(2, np.int8))
    graph.store('factors', FACTORS.reshape(1, 2, 1, 1))
    return graph


def run(graph: Graph, tensors: list[str]) -> list[np.ndarray]:
    x = np.array([[-2.0, 0], [1, 3]], np.float32).reshape(1, 1, 2, 2)
    return open_unoptimized(graph, tensors).run(tensors, dict(input=x))


@pytest.mark.parametrize(('few', 'both'), [(48, False), (0, False), (0, True)])
def test_the_product_is_the_same(monkeypatch, few, both):
    monkeypatch.setattr(even_silu, 'FEW', few)
    graph = silu_graph(both)
    y, even, *others = run(graph, ['y', 'even'] + ['other'] * both)
    waiting = split_even_silus(graph)
    (quantize,) = [n for n in graph.of_type('QuantizeLinear') if n.output[0] == 'eq']
    product = graph.producer(quantize.input[0])
    operand = next(name for name in product.input if name != 'gate')
    scaled, back, new, *kept = run(graph, [operand, 'y', product.output[0]] + ['other'] * both)
    assert scaled == pytest.approx(y * FACTORS.reshape(1, 2, 1, 1), rel=1e-6)
    assert back == pytest.approx(y, rel=1e-6)
    assert new == pytest.approx(even, rel=1e-6)
    assert [x.tolist() for x in kept] == [x.tolist() for x in others]
    assert gate_of(graph, operand) == 'gate'
    # Where nothing else takes the SiLU, costly layers are not computed twice.
    assert waiting == ([operand] if few == 0 and not both else [])
    assert sum(n.op_type == 'Conv' and n.input[0] == 'x' for n in graph.nodes) == 2 - len(waiting)


def test_other_products_stay():
    graph = silu_graph()
    graph.producer('gate').op_type = 'Tanh'
    assert split_even_silus(graph) == [] and graph.producer('even') is not None


def test_onnx_runtime_stays_in_integers(tmp_path):
    ctx, path = quantized_with_multiplier(tmp_path), tmp_path / 'a.onnx'
    profile = profile_of('onnxruntime_fast')
    export_quantized(ctx.model, profile, uneven_inputs(), path, {}, FileForm(dynamic=False))
    engine = find_engine('onnxruntime')(path, threads=1)
    with torch.no_grad():
        simulated = [torch.as_tensor(ctx.model(x)[0]) for x in uneven_inputs()]
    deployed = [torch.as_tensor(engine.run(x.numpy())[0]) for x in uneven_inputs()]
    assert decibel(deployed, simulated) > 20
    assert engine.count_layers() == (4, 1)
