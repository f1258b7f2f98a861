"""Where quantizers are placed besides layer inputs."""

from dataclasses import replace

import onnx
import pytest
import torch
import torch.nn.functional as F
from deploy_models import TinyDetector, exported, profile_of, quantized_detector, sample_inputs
from helpers import load_tool
from torch import nn

from mmptq.deploy import ExportedSubgraph, build_model
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.qdq import qparams_of
from mmptq.deploy.observe import open_unoptimized
from mmptq.deploy.parity import SignalToNoise


def kinds_of_inputs(graph: Graph, kind: str) -> list[list[str]]:
    """Operators that make the inputs of the nodes of a kind."""
    return [
        [producer.op_type if (producer := graph.producer(name)) else 'Input' for name in node.input]
        for node in graph.of_type(kind)
    ]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    return {
        name: Graph(exported(name, folder / f'{name}.onnx')[1])
        for name in ('onnxruntime', 'openvino', 'tensorrt')
    }


def test_both_operands_for_onnxruntime_and_one_for_the_others(files):
    pair = 'DequantizeLinear'
    assert kinds_of_inputs(files['onnxruntime'], 'Add') == [[pair, pair]] * 2
    for name in ('openvino', 'tensorrt'):
        residual, pyramid = kinds_of_inputs(files[name], 'Add')
        assert sorted(residual) == ['Conv', pair]
        assert pyramid == [pair, pair]


def test_selecting_operators_share_one_grid(files):
    for name, graph in files.items():
        for node in graph.of_type('MaxPool'):
            below = graph.producer(graph.producer(node.input[0]).input[0])
            assert qparams_of(graph, below.input[0]) == qparams_of(graph, node.output[0]), name
    (node,) = files['tensorrt'].of_type('Concat')
    (qparams,) = qparams_of(files['tensorrt'], node.output[0])
    for tensor in node.input:
        quantized = files['tensorrt'].producer(files['tensorrt'].producer(tensor).input[0])
        assert qparams in qparams_of(files['tensorrt'], quantized.input[0])


def test_signs_follow_the_profile(files):
    for name, signed in (('onnxruntime', False), ('openvino', False), ('tensorrt', True)):
        graph = files[name]
        nodes = list(graph.of_type('QuantizeLinear'))
        found_qparams = [qparams for node in nodes for qparams in qparams_of(graph, node.input[0])]
        assert {qparams.signed for qparams in found_qparams} == {signed}
        assert signed is False or {qparams.zero_point for qparams in found_qparams} == {0}


def test_outputs_with_few_channels_stay_float(files):
    makers = {
        name: [graph.producer(output).op_type for output in graph.outputs]
        for name, graph in files.items()
    }
    assert makers['onnxruntime'] == ['DequantizeLinear', 'Conv']
    assert makers['openvino'] == ['Conv', 'Conv']


def test_no_tensor_has_two_grids_where_a_kernel_writes_one(files):
    graph = files['onnxruntime']
    for node in graph.of_type('QuantizeLinear'):
        assert len(qparams_of(graph, node.input[0])) == 1


def test_observed_grids_cover_the_tensor():
    detector = quantized_detector('onnxruntime')
    _, observed = build_model(detector, profile_of('onnxruntime'), sample_inputs(), True)
    qparams = next(qparams for name, qparams in observed.items() if 'conv2' in name)
    subgraph_input = sample_inputs()[0]
    high = detector.backbone.conv2(
        detector.backbone.conv1(detector.backbone(subgraph_input)[0]).relu()
    )
    top = (255 - qparams['zero_point']) * qparams['scale']
    assert top > 0.8 * float(high.max())


class NarrowHead(nn.Module):
    """Few outputs, which are reshaped before they leave the network."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(32, 32, 3, 1, 1)
        self.offsets = nn.Conv2d(32, 4, 1)

    def forward(self, x):
        return self.offsets(F.silu(self.shared(x))).permute(0, 2, 3, 1).flatten(1, 2)


def test_small_outputs_stay_float_also_where_they_are_reshaped():
    detector = TinyDetector()
    detector.bbox_head = NarrowHead()
    quantized_detector('onnxruntime', detector)
    for backend, makers in (('onnxruntime', {'Conv'}), ('onnxruntime_full', {'DequantizeLinear'})):
        model, _ = build_model(detector, profile_of(backend), sample_inputs(), False)
        graph = Graph(model)
        (transposed,) = (n for n in graph.of_type('Transpose'))
        assert {graph.producer(transposed.input[0]).op_type} == makers


def test_no_pair_on_what_only_a_float_layer_takes():
    detector = TinyDetector()
    detector.bbox_head = NarrowHead()
    rule = dict(name='bbox_head.offsets', weight=None, act=None, reason='test')
    profile = profile_of('onnxruntime')
    profile = replace(profile, limits=replace(profile.limits, rules=[rule]))
    with torch.no_grad():
        load_tool('benchmark').quantize_by_minmax(
            ExportedSubgraph(detector.eval()), profile, torch.cat(sample_inputs())
        )
    graph = Graph(build_model(detector, profile, sample_inputs(), False)[0])
    silu, sigmoid = next(graph.of_type('Mul')), next(graph.of_type('Sigmoid'))
    for name in (*silu.input, *sigmoid.input, *silu.output):
        assert qparams_of(graph, name) == []
    assert len([n for n in graph.of_type('Conv') if not qparams_of(graph, n.output[0])]) > 1


class SamplingHead(nn.Module):
    """A layer gives the places where the next one reads features."""

    def __init__(self):
        super().__init__()
        self.locate = nn.Conv2d(32, 2, 1)
        self.last = nn.Conv2d(32, 100, 1)

    def forward(self, x):
        grid = 0.5 * self.locate(x).permute(0, 2, 3, 1)
        return self.last(F.grid_sample(x, grid, align_corners=True))


@pytest.mark.parametrize('backend', ['onnxruntime', 'onnxruntime_full'])
def test_no_pair_on_sampling_coordinates(backend):
    detector = TinyDetector()
    detector.bbox_head = SamplingHead()
    quantized_detector(backend, detector)
    graph = Graph(build_model(detector, profile_of(backend), sample_inputs(), False)[0])
    (sampling,) = graph.of_type('GridSample')
    places = next(n for n in graph.of_type('Conv') if 'locate' in n.name)
    assert graph.producer(places.input[0]).op_type == 'DequantizeLinear'
    tensor = sampling.input[1]
    while tensor != places.output[0]:
        assert graph.producer(tensor).op_type in ('Mul', 'Transpose')
        tensor = next(n for n in graph.producer(tensor).input if not graph.is_constant(n))


def test_the_most_sensitive_outputs_stay_float():
    detector = quantized_detector('onnxruntime')
    profile = profile_of('onnxruntime')
    none, _ = build_model(detector, profile, sample_inputs(), False)
    one, _ = build_model(detector, profile, sample_inputs(), False, float_outputs=1)
    few = len(list(Graph(one).of_type('QuantizeLinear')))
    assert few < len(list(Graph(none).of_type('QuantizeLinear')))
    noise = {}
    subgraph = ExportedSubgraph(detector).eval()
    for name, model in (('none', none), ('one', one)):
        session = open_unoptimized(Graph(model), [])
        meter = SignalToNoise()
        for x in sample_inputs():
            with torch.no_grad():
                references = subgraph(x)
            for reference, value in zip(
                references, session.run(None, {'input': x.numpy()}), strict=True
            ):
                meter.update(reference.numpy(), value)
        noise[name] = meter.noise
    assert noise['one'] < noise['none']


def test_files_are_valid(files):
    assert set(files) == {'onnxruntime', 'openvino', 'tensorrt'}
    for graph in files.values():
        onnx.checker.check_model(graph.finish(), full_check=True)
