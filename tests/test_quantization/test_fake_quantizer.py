"""Arithmetic in float32 whatever the type of the model."""

import copy

import pytest
import torch
from torch import nn

from mmptq.quantization import (
    FakeQuantizer,
    HardRounding,
    QScheme,
    SoftRounding,
    apply_plan,
    choose_qparams,
    freeze,
    make_plan,
    quantized_layers,
)

HALVES = [torch.float16, torch.bfloat16]


def calibrated(x: torch.Tensor, scheme: QScheme) -> FakeQuantizer:
    rows = x.view(1, -1) if scheme.channel_axis is None else x.transpose(0, scheme.channel_axis)
    rows = rows.flatten(1)
    quantizer = FakeQuantizer(scheme, len(rows)).to(x.device)
    quantizer.set_qparams(*choose_qparams(rows.amin(1), rows.amax(1), scheme))
    return quantizer


@pytest.mark.parametrize('dtype', [*HALVES, torch.float64])
def test_buffers_keep_their_types(dtype):
    quantizer = calibrated(torch.tensor([-1e-7, 1e-7]), QScheme())
    assert 0 < quantizer.scale.item() < 1e-9  # 0 in float16
    model = nn.Sequential(nn.Linear(2, 2), quantizer)
    quantizer.log_scale_delta = nn.Parameter(torch.full((1,), 1e-9))
    quantizer.rounding = HardRounding(torch.ones(2, dtype=torch.bool))
    before = copy.deepcopy(quantizer.state_dict())
    for convert in (lambda: model.to(dtype), lambda: model.type(dtype), lambda: model.to('cpu')):
        convert()
        assert model[0].weight.dtype == dtype
        assert all(torch.equal(before[key], value) for key, value in quantizer.state_dict().items())
        assert quantizer.scale.dtype == quantizer.log_scale_delta.dtype == torch.float32
        assert quantizer.zero_point.dtype == torch.int32
        assert quantizer.rounding.round_up.dtype == torch.bool


def test_buffers_follow_the_device():
    quantizer = FakeQuantizer(QScheme(), 3).to('meta', torch.float16)
    assert quantizer.scale.device.type == quantizer.zero_point.device.type == 'meta'
    assert quantizer.scale.dtype == torch.float32


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize(
    'scheme', [QScheme(), QScheme(bits=16), QScheme(4, channel_axis=1)], ids=QScheme.describe
)
@pytest.mark.parametrize('sign', [-1.0, 1.0])
def test_half_values_are_quantized_in_float32(dtype, scheme, sign, device):
    """A zero point of 65535 would be infinite in float16."""
    x = sign * torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    x = x.to(device, dtype)
    quantizer = calibrated(x.float(), scheme)
    expected = quantizer(x.float())
    x.requires_grad_()
    y = quantizer.to(dtype)(x)
    assert y.dtype == dtype
    assert torch.equal(y, expected.to(dtype))
    y.sum().backward()
    assert x.grad.dtype == dtype and torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize('dtype', HALVES)
def test_learned_rounding_of_half_weights(dtype, device):
    weight = -torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    scheme = QScheme(bits=16, channel_axis=0)
    quantizer = calibrated(weight.float(), scheme)
    soft = SoftRounding(weight, quantizer.scale, quantizer.zero_point, scheme)
    for rounding in (soft, soft.harden()):
        quantizer.rounding = rounding
        y = quantizer(weight)
        assert y.dtype == dtype
        torch.testing.assert_close(y, weight)


@pytest.mark.parametrize('dtype', HALVES)
@torch.no_grad()
def test_a_quantized_model_in_half_precision(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    x = torch.randn(1, 3, 8, 8)
    quantizer = dict(weight=dict(bits=4, per_channel=True), act=dict(bits=8))
    apply_plan(net, make_plan(net, quantizer, lambda: net(x)))
    for layer in quantized_layers(net).values():
        rows = layer.weight.flatten(1)
        slot = layer.weight_quantizer
        slot.set_qparams(*choose_qparams(rows.amin(1), rows.amax(1), slot.scheme))
        layer.input_quantizer.set_qparams(torch.tensor([0.03]), torch.tensor([100]))
    expected = net(x)
    with torch.autocast('cpu', dtype=dtype):
        automatic = net(x)
    scales = [layer.weight_quantizer.scale.clone() for layer in quantized_layers(net).values()]
    net.to(dtype)
    for frozen in (False, True):
        if frozen:
            freeze(net)
        y = net(x.to(dtype))
        assert y.dtype == automatic.dtype == dtype
        for found in (y, automatic):
            torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.1)
    for layer, scale in zip(quantized_layers(net).values(), scales, strict=True):
        assert torch.equal(layer.weight_quantizer.scale, scale)
