"""Quantized layers compute what a float layer with dequantized weight and input computes."""

import copy

import pytest
import torch
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from torch import nn

from mmptq.quantization import FakeQuantizer, QScheme, QuantMixin
from mmptq.quantization.layers.registry import quant_type_of

LAYERS = [
    (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 8)),
    (nn.Conv2d(4, 4, 3, groups=4, bias=False, padding_mode='reflect', padding=1), (2, 4, 9, 8)),
    (nn.Conv3d(4, 6, 3), (2, 4, 5, 5, 5)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 5, 5)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, padding=1), (2, 4, 5, 5)),
    (nn.Linear(4, 6), (3, 4)),
    (nn.Linear(4, 6), (2, 3, 4)),
    (DeformConv2dPack(4, 6, 3, padding=1), (2, 4, 8, 8)),
    (ModulatedDeformConv2dPack(4, 6, 3, padding=1), (2, 4, 8, 8)),
]


def converted(
    layer: nn.Module, weight: QScheme | None, act: QScheme | None, device: torch.device
) -> nn.Module:
    layer = copy.deepcopy(layer).to(device)
    layer.__class__ = quant_type_of(type(layer))
    layer.attach(weight, act)
    for slot in (layer.weight_quantizer, layer.input_quantizer):
        if isinstance(slot, FakeQuantizer):
            scale = torch.rand(slot.scale.shape) * 0.05 + 0.02
            slot.set_qparams(scale.to(device), torch.tensor(7, device=device))
    return layer


@pytest.mark.parametrize('per_channel', [True, False])
@pytest.mark.parametrize(('layer', 'shape'), LAYERS, ids=lambda v: str(v)[:30])
def test_same_as_float_layer_with_dequantized_numbers(layer, shape, per_channel, device):
    layer = copy.deepcopy(layer).to(device)
    quant_type = quant_type_of(type(layer))
    axes = (quant_type.weight_axis, quant_type.channel_axis) if per_channel else (None, None)
    schemes = [QScheme(4, channel_axis=axis) for axis in axes]
    quantized = converted(layer, *schemes, device)
    reference = copy.deepcopy(layer)
    reference.weight.data = quantized.weight_quantizer(layer.weight).detach()
    x = torch.randn(shape, device=device)
    expected = reference(quantized.input_quantizer(x))
    torch.testing.assert_close(quantized(x), expected)
    assert not torch.allclose(quantized(x), layer(x))


@pytest.mark.parametrize(('layer', 'shape'), LAYERS, ids=lambda v: str(v)[:30])
def test_float_slots_change_nothing(layer, shape, device):
    x, layer = torch.randn(shape, device=device), copy.deepcopy(layer).to(device)
    torch.testing.assert_close(converted(layer, None, None, device)(x), layer(x), rtol=0, atol=0)


@pytest.mark.parametrize(('layer', 'shape'), LAYERS, ids=lambda v: str(v)[:30])
def test_gradient_reaches_weight_and_input(layer, shape, device):
    quantized = converted(layer, QScheme(8, signed=True), QScheme(8, signed=True), device)
    quantized.weight_quantizer.zero_point.zero_()
    quantized.input_quantizer.zero_point.zero_()
    x = torch.randn(shape, device=device, requires_grad=True)
    quantized(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert quantized.weight.grad.abs().sum() > 0


def test_conversion_keeps_identity():
    conv = nn.Conv2d(3, 4, 3)
    calls = []
    conv.register_forward_hook(lambda *_: calls.append(1))
    before = dict(conv.named_parameters())
    conv.__class__ = quant_type_of(nn.Conv2d)
    conv.attach(QScheme(8, channel_axis=0), QScheme(8))
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(conv, QuantMixin)
    assert {k: id(v) for k, v in conv.named_parameters()} == {k: id(v) for k, v in before.items()}
    assert conv.weight_quantizer.scale.shape == (4,)
    assert conv.input_quantizer.scale.shape == (1,)
    conv(torch.randn(1, 3, 5, 5))
    assert calls == [1]


def test_quantizer_tells_whether_it_is_calibrated():
    quantizer = FakeQuantizer(QScheme(8))
    assert not quantizer.calibrated
    quantizer.set_qparams(torch.tensor([0.1]), torch.tensor([3]))
    assert quantizer.calibrated


class SameForward(nn.Conv2d):
    pass


class OtherForward(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


def test_subclasses():
    assert issubclass(quant_type_of(SameForward), SameForward)
    assert quant_type_of(SameForward) is quant_type_of(SameForward)
    assert quant_type_of(OtherForward) is None
    assert quant_type_of(nn.ReLU) is None
    # Its weight is used by nn.MultiheadAttention, its forward never runs.
    assert quant_type_of(type(nn.MultiheadAttention(8, 2).out_proj)) is None
