"""Ranges of tensors inside of a graph."""

import pytest
import torch
from deploy_models import TinyDetector, profile_of, sample_inputs

from mmptq.deploy.exported_subgraph import ExportedSubgraph
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.observe import make_observe, open_unoptimized, rectified_addends
from mmptq.deploy.onnx_export import export_marked


@pytest.mark.parametrize(('backend', 'signed'), [('onnxruntime', False), ('tensorrt', True)])
def test_range_is_that_of_all_samples(backend, signed):
    detector, inputs = TinyDetector().eval(), sample_inputs(3)
    graph = Graph(export_marked(ExportedSubgraph(detector).eval(), inputs[0], dynamic=True))
    assert make_observe(graph, profile_of(backend), inputs)([]) == {}
    tensor = next(iter(graph.of_type('MaxPool'))).output[0]
    qparams = make_observe(graph, profile_of(backend), inputs)([tensor])[tensor]
    highest = max(float(detector.backbone(x)[0].max()) for x in inputs)
    assert qparams.signed is signed
    assert (127 if signed else 255) * qparams.scale == pytest.approx(highest, rel=1e-5)
    assert qparams.zero_point == 0


def test_samples_may_have_any_size():
    detector = TinyDetector().eval()
    inputs = [*sample_inputs(1), *sample_inputs(1, (64, 32))]
    graph = Graph(export_marked(ExportedSubgraph(detector).eval(), inputs[0], dynamic=True))
    tensor = next(iter(graph.of_type('MaxPool'))).output[0]
    assert make_observe(graph, profile_of('openvino'), inputs)([tensor])[tensor].scale > 0


def test_a_sum_that_is_rectified_needs_no_lower_range():
    detector, inputs = TinyDetector().eval(), sample_inputs(3)
    graph = Graph(export_marked(ExportedSubgraph(detector).eval(), inputs[0], dynamic=True))
    residual = next(
        n for n in graph.of_type('Add') if graph.consumers(n.output[0])[0].op_type == 'Relu'
    )
    tensors = list(residual.input)
    addends = rectified_addends(graph, tensors)
    assert len(addends) == 1  # the other operand has to be right
    ((tensor, other),) = addends.items()
    assert {tensor, other} == set(tensors)
    qparams = make_observe(graph, profile_of('openvino'), inputs)(tensors)[tensor]
    values = [open_unoptimized(graph, tensors).run(tensors, {'input': x.numpy()}) for x in inputs]
    values = [dict(zip(tensors, map(torch.from_numpy, pair), strict=True)) for pair in values]
    low = min(float(torch.maximum(v[tensor], -v[other]).min()) for v in values)
    assert -qparams.zero_point * qparams.scale == pytest.approx(low, abs=qparams.scale)
    assert low > min(float(v[tensor].min()) for v in values)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield
