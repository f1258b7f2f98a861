"""Edits of an ONNX graph on a graph of three nodes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmptq.deploy.graph.graph import Graph, attribute


@pytest.fixture
def graph() -> Graph:
    nodes = [
        helper.make_node('Add', ['relu', 'two'], ['sum']),  # before the node that it needs
        helper.make_node('Relu', ['x'], ['relu']),
        helper.make_node('Sigmoid', ['x'], ['unused']),
        helper.make_node('LeakyRelu', ['sum'], ['y'], alpha=0.25),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in 'xy')
    constants = [numpy_helper.from_array(np.full(1, 2, np.float32), name) for name in ('two', 'z')]
    return Graph(helper.make_model(helper.make_graph(nodes, 'g', [x], [y], constants)))


def test_neighbours(graph):
    assert graph.producer('relu').op_type == 'Relu'
    assert graph.producer('x') is None
    assert [node.op_type for node in graph.consumers('x')] == ['Relu', 'Sigmoid']
    assert graph.is_constant('two')
    assert not graph.is_constant('relu')
    assert graph.array('two') == 2
    assert graph.array('relu') is None
    assert attribute(graph.producer('y'), 'alpha') == 0.25
    assert attribute(graph.producer('y'), 'beta', 'default') == 'default'


def test_finish_sorts_and_drops_what_nothing_needs(graph):
    model = graph.finish()
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ['Relu', 'Add', 'LeakyRelu']
    assert [tensor.name for tensor in model.graph.initializer] == ['two']


def test_scalars_stay_scalars(graph):
    graph.store('scalar', np.array(1.5, np.float32))
    assert graph.array('scalar').shape == ()


def test_bypass_keeps_the_name_of_an_output(graph):
    graph.bypass(graph.producer('y'))
    model = graph.finish()
    assert [list(node.output) for node in model.graph.node] == [['relu'], ['y']]


def test_bypass_inside(graph):
    graph.bypass(graph.producer('relu'))
    assert list(graph.finish().graph.node[0].input) == ['x', 'two']


def test_with_outputs_leaves_the_graph_as_it_is(graph):
    copy = graph.with_outputs(['relu'])
    assert [output.name for output in copy.graph.output] == ['y', 'relu']
    assert [output.name for output in graph.finish().graph.output] == ['y']


def test_neighbours_after_edits(graph):
    assert graph.consumers('sum') and graph.producer('y')
    leaky = graph.producer('y')
    graph.add('Abs', ['relu'], 'abs')
    assert [node.op_type for node in graph.consumers('relu')] == ['Add', 'Abs']
    graph.set_input(leaky, 0, 'abs')
    assert graph.consumers('sum') == []
    assert graph.consumers('abs') == [leaky]
    graph.set_output(leaky, 'z2')
    assert graph.producer('y') is None
    assert graph.producer('z2') is leaky
    graph.rename('abs', 'absolute')
    assert graph.producer('absolute').op_type == 'Abs'
    assert graph.consumers('absolute') == [leaky]
    graph.remove(leaky)
    assert graph.consumers('absolute') == []
