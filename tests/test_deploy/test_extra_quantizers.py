"""Where quantizers are placed besides layer inputs."""

import onnx
import pytest
from deploy_models import exported, profile_of, quantized_detector, sample_inputs

from mmptq.deploy import build_model
from mmptq.deploy.graph import Graph
from mmptq.deploy.qdq import grids_of


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
            assert grids_of(graph, below.input[0]) == grids_of(graph, node.output[0]), name
    (node,) = files['tensorrt'].of_type('Concat')
    (grid,) = grids_of(files['tensorrt'], node.output[0])
    for tensor in node.input:
        quantized = files['tensorrt'].producer(files['tensorrt'].producer(tensor).input[0])
        assert grid in grids_of(files['tensorrt'], quantized.input[0])


def test_signs_follow_the_profile(files):
    for name, signed in (('onnxruntime', False), ('openvino', False), ('tensorrt', True)):
        graph = files[name]
        nodes = list(graph.of_type('QuantizeLinear'))
        grids = [grid for node in nodes for grid in grids_of(graph, node.input[0])]
        assert {grid.signed for grid in grids} == {signed}
        assert signed is False or {grid.zero_point for grid in grids} == {0}


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
        assert len(grids_of(graph, node.input[0])) == 1


def test_observed_grids_cover_the_tensor():
    detector = quantized_detector('onnxruntime')
    _, observed = build_model(detector, profile_of('onnxruntime'), sample_inputs(), True)
    grid = next(grid for name, grid in observed.items() if 'conv2' in name)
    section_input = sample_inputs()[0]
    high = detector.backbone.conv2(
        detector.backbone.conv1(detector.backbone(section_input)[0]).relu()
    )
    top = (255 - grid['zero_point']) * grid['scale']
    assert top > 0.8 * float(high.max())


def test_files_are_valid(files):
    for graph in files.values():
        onnx.checker.check_model(graph.finish(), full_check=True)
