"""Recorded volumes: which are drawn, and what they weigh."""

import pytest
import torch
from torch import nn

from mmptq.ptq.search.recorded_rows import RecordedRows, Rows
from mmptq.ptq.teacher.gradients import Gradients
from mmptq.ptq.teacher.importance import Importance


class Given(Importance):
    """Weights by layer."""

    def __init__(self, **weights):
        super().__init__({})
        self.given = weights

    def fit(self, gradients):
        pass

    def weights(self, name, sample, call, side='output'):
        assert side == 'input'
        return [self.given[name]]


def recorded(tmp_path, layers, importance, inputs, number=8, gradient=None):
    """Rows of a forward of each layer on its inputs."""
    gradients = Gradients(2**20, tmp_path)
    for name in layers:
        gradients.append(name, 0, [[gradient]] * len(inputs), 'input')
    rows = RecordedRows(importance, gradients, number, 0, 2**20, tmp_path)
    hooks = rows.hooks(layers, 0, 0)
    for x in inputs:
        for layer in layers.values():
            hooks[layer](layer, (x,), {})
    return rows


def test_all_volumes_that_count_where_they_are_few(tmp_path):
    x = torch.arange(18.0).view(1, 2, 3, 3)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1] = torch.tensor([1.0, 2.0, 0.5])
    layers = dict(conv=nn.Conv2d(2, 2, 1))
    (row,) = recorded(tmp_path, layers, Given(conv=weight), [x]).of('conv')
    assert row.x.tolist() == [[3, 12], [4, 13], [5, 14]]
    assert row.weight.tolist() == [[1], [2], [0.5]]
    assert row.direction is None


def test_drawn_volumes_stand_for_the_others_and_hold_the_extremes(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 10, 10)
    layers = dict(conv=nn.Conv2d(2, 2, 1))
    (row,) = recorded(tmp_path, layers, Given(conv=1.0), [x]).of('conv')
    assert row.x.shape == (8, 2) and row.weight.shape == (8, 1)
    assert row.weight.sum().item() == pytest.approx(100)
    assert row.x.max() == x.max() and row.x.min() == x.min()
    assert sorted(row.weight.flatten().tolist()) == pytest.approx([1, 1] + [98 / 6] * 6)
    (again,) = recorded(tmp_path, layers, Given(conv=1.0), [x]).of('conv')
    assert torch.equal(row.x, again.x)


def test_weights_of_channels_of_calls_and_of_tokens(tmp_path):
    x = torch.rand(1, 4, 3)
    weight = torch.rand(1, 4, 3)
    weight[0, 1] = 0
    weight[0, 2, 0] = 0
    layers = dict(fc=nn.Linear(3, 3))
    rows = recorded(tmp_path, layers, Given(fc=weight), [x, x + 1]).of('fc')
    assert len(rows) == 2
    for call, row in enumerate(rows):
        assert torch.equal(row.x, x[0, [0, 2, 3]] + call)
        assert torch.equal(row.weight, weight[0, [0, 2, 3]])


def test_volumes_of_a_linear_layer_with_channels_last(tmp_path):
    x = torch.arange(24.0).view(1, 2, 3, 4)
    weight = torch.tensor([[1.0, 0, 2], [0, 3, 0]]).view(1, 2, 3, 1)
    layers = dict(fc=nn.Linear(4, 2))
    (row,) = recorded(tmp_path, layers, Given(fc=weight), [x]).of('fc')
    assert torch.equal(row.x, x[0, [0, 0, 1], [0, 2, 1]])
    assert row.weight.tolist() == [[1], [2], [3]]
    (row,) = recorded(tmp_path, layers, Given(fc=1.0), [x]).of('fc')
    assert row.x.shape == (6, 4) and row.weight.shape == (6, 1)


def test_directions_are_gradients_of_the_same_volumes(tmp_path):
    importance = Given(fc=torch.tensor([[0.0], [1.0], [1.0]]))
    importance.projects = True
    gradient = torch.arange(6.0).view(3, 2)
    layers = dict(fc=nn.Linear(2, 2))
    (row,) = recorded(tmp_path, layers, importance, [gradient + 10], gradient=gradient).of('fc')
    assert row.direction.tolist() == [[2, 3], [4, 5]]
    assert torch.equal(row.x, row.direction + 10)


def test_nothing_counts(tmp_path):
    layers = dict(fc=nn.Linear(2, 2))
    assert (
        recorded(tmp_path, layers, Given(fc=torch.zeros(3, 1)), [torch.rand(3, 2)]).of('fc') == []
    )


def test_joined_rows():
    first = Rows(torch.ones(2, 3), torch.full((2, 1), 0.5))
    second = Rows(torch.zeros(1, 3), torch.ones(1, 3))
    joined = Rows.joined([first, second])
    assert joined.x.shape == (3, 3)
    assert joined.weight.tolist() == [[0.5] * 3, [0.5] * 3, [1.0] * 3]
