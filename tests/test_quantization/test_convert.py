"""A float model becomes a quantized one in place, and again from plain data."""

import copy
import json
import sys

import pytest
import torch
from torch import nn

from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    QuantPlan,
    apply_plan,
    choose_qparams,
    freeze,
    make_plan,
    quantized_layers,
    quantizers_off,
    rebuild,
)

W4A8 = dict(weight=dict(bits=4, per_channel=True), act=dict(bits=8), rules=[])


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)
    ).eval()


def quantize_model(net, cfg, run) -> QuantPlan:
    plan = make_plan(net, cfg, run)
    apply_plan(net, plan)
    return plan


def quantized_net(x: torch.Tensor) -> tuple[nn.Module, QuantPlan]:
    net = make_net()
    plan = quantize_model(net, W4A8, lambda: net(x))
    for layer in quantized_layers(net).values():
        rows = layer.weight.detach().flatten(1)
        layer.weight_quantizer.set_qparams(
            *choose_qparams(rows.amin(1), rows.amax(1), layer.weight_quantizer.scheme)
        )
        layer.input_quantizer.set_qparams(torch.tensor([0.03]), torch.tensor([100]))
    return net, plan


@torch.no_grad()
def test_off_is_the_float_model():
    x = torch.randn(1, 3, 8, 8)
    expected = make_net()(x)
    net, plan = quantized_net(x)
    assert plan.folded == [('0', '1')]
    assert not torch.allclose(net(x), expected, atol=1e-3)
    with quantizers_off(net):
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
    assert all(m.enabled for m in net.modules() if isinstance(m, FakeQuantizer))


@torch.no_grad()
def test_freeze_keeps_the_function_and_puts_weights_on_the_grid():
    x = torch.randn(1, 3, 8, 8)
    net, _ = quantized_net(x)
    expected = net(x)
    freeze(net)
    assert torch.equal(net(x), expected)
    for layer in quantized_layers(net).values():
        assert all(len(row.unique()) <= 16 for row in layer.weight)
        assert not layer.weight_quantizer.enabled


@torch.no_grad()
def test_rebuild_from_plain_data_gives_the_same_bits():
    x = torch.randn(1, 3, 8, 8)
    net, plan = quantized_net(x)
    freeze(net)
    again = make_net()
    rebuild(again, QuantPlan.from_dict(json.loads(json.dumps(plan.to_dict()))))
    again.load_state_dict(copy.deepcopy(net.state_dict()), strict=True)
    assert torch.equal(again(x), net(x))


def test_twice_is_refused():
    net, _ = quantized_net(torch.randn(1, 3, 8, 8))
    with pytest.raises(QuantizationError, match='quantized already'):
        quantize_model(net, W4A8, lambda: None)


def test_nothing_to_quantize_is_refused():
    net = make_net()
    cfg = dict(weight=None, act=None)
    with pytest.raises(QuantizationError, match='no layer is quantized'):
        quantize_model(net, cfg, lambda: net(torch.randn(1, 3, 8, 8)))


def test_batchnorm_of_a_float_layer_stays():
    net = make_net()
    cfg = dict(W4A8, rules=[dict(name='0', weight=None, act=None)])
    plan = quantize_model(net, cfg, lambda: net(torch.randn(1, 3, 8, 8)))
    assert plan.folded == []
    assert plan.unfolded == {'1': '0 stays float'}
    assert type(net[0]) is nn.Conv2d


def test_plan_of_another_model_or_version_is_refused():
    _, plan = quantized_net(torch.randn(1, 3, 8, 8))
    with pytest.raises(QuantizationError, match="a layer '3', which is missing"):
        rebuild(nn.Sequential(nn.Conv2d(3, 8, 3)), plan)
    with pytest.raises(QuantizationError, match='quantize again'):
        QuantPlan.from_dict(dict(plan.to_dict(), version=0))


def test_mmcv_sparse_convolution_asks_for_spconv(monkeypatch):
    from mmcv.ops.sparse_conv import SubMConv3d

    net = nn.Sequential(SubMConv3d(4, 4, 3))
    with pytest.raises(QuantizationError, match="'0' is one of mmcv's own sparse convolutions"):
        quantize_model(net, W4A8, lambda: None)
    monkeypatch.setitem(sys.modules, 'spconv.pytorch', None)  # as if it were not installed
    with pytest.raises(ImportError, match="sparse convolution '0' needs spconv 2.*pip install"):
        quantize_model(net, W4A8, lambda: None)


def test_unsupported_layers_are_listed():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Bilinear(6, 6, 2))

    class Run(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net[0](x)

    model = Run().eval()
    plan = quantize_model(model, W4A8, lambda: model(torch.randn(1, 3, 8, 8)))
    assert plan.unsupported == {'net.1': 'Bilinear'}
