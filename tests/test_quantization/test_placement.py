"""Rules: later ones win, names and roles, errors that name the fix."""

import pytest
import torch
from torch import nn

from mmptq.quantization import QuantizationError
from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.layers import QUANT_LAYERS
from mmptq.quantization.placement import place

INT8 = dict(
    weight=dict(bits=8, symmetric=True, signed=True, per_channel=True), act=dict(bits=8), rules=[]
)


def plans(rules, net=None):
    if net is None:
        net = nn.Sequential(
            nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, groups=32), nn.ConvTranspose2d(32, 20, 2)
        )
    net.eval()
    trace = trace_layers(net, tuple(QUANT_LAYERS), lambda: net(torch.randn(1, 3, 8, 8)))
    return {plan.name: plan for plan in place(net, dict(INT8, rules=rules), trace)}


def test_defaults_and_channel_axes():
    got = plans([])
    assert [got[n].weight.channel_axis for n in '012'] == [0, 0, 1]
    assert all(plan.act.channel_axis is None and plan.quantized for plan in got.values())


def test_later_rules_win_and_update_the_default():
    got = plans(
        [dict(name='*', weight=dict(bits=4)), dict(name='1', weight=dict(bits=2), act=None)]
    )
    assert [got[n].weight.bits for n in '012'] == [4, 2, 4]
    assert got['1'].act is None
    assert got['1'].weight.symmetric
    assert got['0'].act.bits == 8


@pytest.mark.parametrize(
    ('role', 'names'),
    [('first', '0'), ('last', '2'), ('few_channels', '0'), ('depthwise', '1')],
)
def test_roles(role, names):
    got = plans([dict(role=role, weight=None, act=None)])
    assert ''.join(n for n, plan in got.items() if not plan.quantized) == names


class Fused(nn.Module):
    """A camera branch and a point branch, as in MVX-Net."""

    def __init__(self):
        super().__init__()
        self.img_backbone = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1))
        self.voxel_encoder = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 16))

    def forward(self, x):
        image = self.img_backbone(x).mean((2, 3))
        return image + self.voxel_encoder(x[:, :1, 0, :4].flatten(1))


@pytest.mark.parametrize(
    ('role', 'names'),
    [('first', ['img_backbone.0', 'voxel_encoder.0']), ('points', ['voxel_encoder.0'])],
)
def test_cameras_are_no_points(role, names):
    got = plans([dict(role=role, weight=None, act=None)], Fused())
    assert sorted(name for name, plan in got.items() if not plan.quantized) == names


def test_rule_by_any_name_of_a_shared_module():
    net = nn.Sequential()
    conv = nn.Conv2d(3, 3, 1)
    net.add_module('first_name', conv)
    net.add_module('second_name', conv)
    got = plans([dict(name='second*', weight=dict(bits=4))], net)
    assert list(got) == ['first_name']
    assert got['first_name'].weight.bits == 4


@pytest.mark.parametrize(
    ('rule', 'message'),
    [
        (dict(name='neck.*', act=None), "matches no layer: the closest is '"),
        (dict(name='2', role='depthwise', act=None), "name '2' has the role 'depthwise'"),
        (dict(role='head', act=None), "unknown role 'head'"),
        (dict(act=None), 'needs a name'),
        (dict(name='*', bits=4), "unknown key 'bits'"),
        (dict(name='*', act=dict(bit=4)), "unknown key 'bit'"),
    ],
)
def test_bad_rules(rule, message):
    with pytest.raises(QuantizationError, match=message):
        plans([rule])


def test_role_without_layers_is_no_error():
    net = nn.Sequential(nn.Conv2d(3, 20, 1))
    assert plans([dict(role='depthwise', act=None)], net) == plans([], net)


def test_grouped_transposed_convolution_stays_float():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 2, groups=2))
    found = plans([], net)
    assert found['0'].quantized and not found['1'].quantized
    assert found['1'].reason == 'a transposed convolution with groups=2 has no quantized version'
    named = plans([dict(name='1', weight=None, act=None, reason='mine')], net)['1']
    assert not named.quantized and named.reason == 'mine'
