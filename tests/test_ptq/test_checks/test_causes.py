"""Each cause on a tiny network that was built to have it."""

import pytest
import torch
from helpers import QUANTIZER
from torch import nn

from mmptq.ptq import PTQContext
from mmptq.ptq.checks.causes import causes_of
from mmptq.ptq.checks.layer_diagnosis import collect_facts, diagnosis_rows
from mmptq.ptq.run import prepare_model
from mmptq.ptq.stages.calibrator import Calibrator


def context(model, batches, folder, **quantizer):
    ctx = PTQContext(model.eval(), batches, folder, seed=0)
    prepare_model(ctx, dict(QUANTIZER, **quantizer))
    Calibrator(warn=False).run(ctx)
    return ctx


def causes(model, batches, folder):
    """Kinds of causes by layer."""
    ctx = context(model, batches, folder)
    found = {facts.name: causes_of(facts) for facts in collect_facts(ctx)}
    return {name: [cause.kind for cause in items] for name, items in found.items() if items}


def images(*shape):
    return [torch.randn(1, *shape) for _ in range(2)]


def scaled(layer, factors):
    """A layer with its output channels multiplied by factors."""
    with torch.no_grad():
        layer.weight.mul_(torch.tensor(factors).view(-1, *[1] * (layer.weight.dim() - 1)))
    return layer


WIDE = [1000.0] + [1.0] * 7


def test_uneven_channels_of_a_depthwise_convolution(tmp_path):
    model = nn.Sequential(
        scaled(nn.Conv2d(3, 8, 1, bias=False), WIDE),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Conv2d(8, 4, 1),
    )
    with torch.no_grad():  # the narrow channels matter as much as the wide one
        model[1].weight.div_(torch.tensor(WIDE).view(-1, 1, 1, 1))
    found = causes(model, images(3, 12, 12), tmp_path)
    assert found['1'] == ['depthwise']
    assert found['2'] == ['accumulated']  # its own error is that of any 8-bit layer
    assert '0' not in found


def test_uneven_channels_of_any_layer(tmp_path):
    model = nn.Sequential(scaled(nn.Linear(16, 8, bias=False), WIDE), nn.Linear(8, 32, bias=False))
    with torch.no_grad():
        model[1].weight.div_(torch.tensor(WIDE))
    assert causes(model, [torch.randn(400, 16)], tmp_path) == {'1': ['uneven']}


def test_no_cause_where_the_weights_ignore_the_narrow_channels(tmp_path):
    model = nn.Sequential(scaled(nn.Linear(16, 8, bias=False), WIDE), nn.Linear(8, 32, bias=False))
    assert causes(model, [torch.randn(400, 16)], tmp_path) == {}


def test_uneven_weights(tmp_path):
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 32))
    with torch.no_grad():  # large weights read a channel of zeros
        model[0].weight[3] = model[0].bias[3] = 0
        model[2].weight[:, 3] = 100
    assert causes(model, [torch.randn(400, 16)], tmp_path) == {'2': ['uneven weights']}


def test_values_far_from_zero(tmp_path):
    model = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 32))
    with torch.no_grad():  # a constant that the next layer takes off
        model[0].bias[3] = 100
        model[1].bias -= 100 * model[1].weight[:, 3]
    assert causes(model, [torch.randn(400, 16)], tmp_path) == {'1': ['offset']}


def test_raw_coordinates(tmp_path):
    x = torch.rand(500, 4) * torch.tensor([100.0, 100.0, 0.1, 0.1])
    found = causes(nn.Sequential(nn.Linear(4, 32), nn.Linear(32, 32)), [x], tmp_path)
    assert found['0'][0] == 'points'


def test_an_image_is_no_coordinate(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3))
    assert causes(model, images(3, 12, 12), tmp_path) == {}


class Silu(nn.Module):
    """A SiLU most of whose values are small, before a layer that reads their negative side."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 32, bias=False), nn.Linear(32, 32, bias=False)

    def forward(self, x):
        return self.second(nn.functional.silu(self.first(x)))


def test_two_sided_activation(tmp_path):
    x = torch.randn(20000, 4)
    x[1] = torch.tensor([60.0, 0, 0, 0])
    model = Silu()
    with torch.no_grad():
        model.first.weight[:, 0] = 1.0  # all channels reach 60
    found = causes(model, [x], tmp_path)
    assert found['second'][0] == 'two-sided'


def test_heavy_tail(tmp_path):
    x = torch.randn(2000, 8).abs()
    x[0] = 500.0
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 32, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8))
    found = causes(model, [x], tmp_path)
    assert found['0'] == ['heavy tail']


class Head(nn.Module):
    def __init__(self, reg='reg'):
        super().__init__()
        self.names = 'cls', reg
        self.trunk = nn.Linear(8, 16)
        self.add_module('cls', nn.Linear(16, 4))
        self.add_module(reg, nn.Linear(16, 4))

    def forward(self, x):
        x = self.trunk(x)
        return [self.get_submodule(name)(x) for name in self.names]


def test_few_outputs_that_mean_numbers(tmp_path):
    x = torch.randn(300, 8)
    ctx = context(Head(), [x], tmp_path, act=dict(bits=4))
    found = {facts.name: causes_of(facts) for facts in collect_facts(ctx)}
    assert 'few numbers' in [cause.kind for cause in found['reg']]
    assert 'few numbers' not in [cause.kind for cause in found['cls']]
    assert 'few numbers' not in [cause.kind for cause in found['trunk']]


class Joined(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.narrow = nn.Linear(8, 8, bias=False)
        self.wide = scaled(nn.Linear(8, 8, bias=False), [1000.0] * 8)
        self.last = nn.Linear(16 if kind == 'concatenation' else 8, 32, bias=False)
        with torch.no_grad():
            self.last.weight[:, 8:] /= 1000

    def forward(self, x):
        narrow, wide = self.narrow(x), self.wide(x)
        if self.kind == 'concatenation':
            return self.last(torch.cat([narrow, wide], -1))
        return self.last(narrow + wide - wide)


@pytest.mark.parametrize('kind', ['concatenation', 'addition'])
def test_joined_ranges(tmp_path, kind):
    ctx = context(Joined(kind), [torch.randn(300, 8)], tmp_path)
    facts = {item.name: item for item in collect_facts(ctx)}
    (join, *_) = sorted(facts['last'].origin.joins, key=lambda join: -join.ratio)
    assert join.kind == kind and 500 < join.ratio < 2000
    assert facts['last'].origin.sources == {'narrow', 'wide'}
    kinds = [cause.kind for cause in causes_of(facts['last'])]
    assert kinds[:1] == (['concatenation'] if kind == 'concatenation' else [])


def test_rows_have_a_remedy_that_can_be_typed(tmp_path):
    x = torch.rand(500, 4) * torch.tensor([100.0, 100.0, 0.1, 0.1])
    model = nn.Sequential(nn.Linear(4, 32), nn.Linear(32, 32))
    with torch.no_grad():
        model[0].weight[:, :2] /= 1000
    ctx = context(model, [x], tmp_path)
    rows = diagnosis_rows(ctx, collect_facts(ctx))
    assert rows[0]['layer'] == '0'
    assert rows[0]['remedy'] == "--bits '0=w8a16'"
    assert rows[0]['own_error'] == pytest.approx(
        rows[0]['input_error'] + rows[0]['weight_error'], rel=0.1
    )


def test_own_and_accumulated_errors(tmp_path):
    ctx = context(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), [torch.randn(300, 4)], tmp_path)
    ctx.layers['0'].module.input_quantizer.scale.fill_(2.0)
    first, second = collect_facts(ctx)
    assert first.own == pytest.approx(first.accumulated) and first.own > 0.01
    assert second.own < 1e-3 < 0.01 < second.accumulated
    assert first.cost == 300 * 16


def test_the_constant_share_of_an_error(tmp_path):
    ctx = context(nn.Sequential(nn.Linear(4, 4)), [torch.randn(300, 4)], tmp_path)
    (facts,) = collect_facts(ctx)
    assert facts.shift < 0.1 and facts.last
    layer = ctx.layers['0'].module
    layer.weight_quantizer.scale.fill_(10.0)  # all weights become 0: the output is the bias
    layer.input_quantizer.scale.fill_(1e-3)
    ctx.loader = [torch.randn(300, 4) * 0.01 + 1.0]
    (facts,) = collect_facts(ctx)
    assert facts.shift > 0.95
