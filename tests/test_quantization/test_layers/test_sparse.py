"""Sparse convolutions: the dequantized-weight identity, gradients, active sites only."""

import copy

import pytest
import torch

from mmptq.quantization import QScheme
from mmptq.quantization.layers.registry import quant_type_of

spconv = pytest.importorskip('spconv.pytorch')

LAYERS = [
    spconv.SubMConv3d(4, 6, 3, indice_key='a'),
    spconv.SubMConv3d(4, 6, 1, bias=False),
    spconv.SparseConv3d(4, 6, 3, stride=2, padding=1),
]


def sparse_input(ndim: int, requires_grad: bool = False, num_sites: int = 20):
    generator = torch.Generator().manual_seed(0)
    shape = [8] * ndim
    cells = torch.randperm(8**ndim, generator=generator)[:num_sites]
    coords = torch.stack([cells // 8**i % 8 for i in reversed(range(ndim))], 1)
    indices = torch.cat([torch.zeros(num_sites, 1), coords], 1).int()
    features = torch.randn(num_sites, 4, generator=generator).requires_grad_(requires_grad)
    return spconv.SparseConvTensor(features, indices, shape, 1)


def converted(layer):
    layer = copy.deepcopy(layer)
    layer.__class__ = quant_type_of(type(layer))
    layer.attach(QScheme(4, signed=True, channel_axis=0), QScheme(4, signed=True))
    layer.weight_quantizer.set_qparams(torch.rand(6) * 0.05 + 0.02, torch.tensor(0))
    layer.input_quantizer.set_qparams(torch.tensor([0.3]), torch.tensor([0]))
    return layer.eval()


@pytest.mark.parametrize('layer', LAYERS, ids=lambda v: str(v)[:12])
def test_same_as_float_layer_with_dequantized_numbers(layer):
    quantized, reference = converted(layer), copy.deepcopy(layer).eval()
    assert quantized.weight_quantizer.scale.shape == (layer.out_channels,)
    reference.weight.data = quantized.weight_quantizer(layer.weight).detach()
    x = sparse_input(3)
    with torch.no_grad():
        y = quantized(x)
        bias, reference.bias = reference.bias, None  # none in spconv's float path on a CPU
        expected = reference(x.replace_feature(quantized.input_quantizer(x.features))).features
        expected = expected if bias is None else expected + bias
    torch.testing.assert_close(y.features, expected)
    assert isinstance(quantized, type(layer))


def test_two_dimensions_and_inverse():
    x = sparse_input(2)
    y = converted(spconv.SparseConv2d(4, 6, 3, padding=1))(x)
    assert y.features.shape[1] == 6
    down = spconv.SparseConv3d(4, 4, 3, stride=2, bias=False, indice_key='down').eval()
    up = converted(spconv.SparseInverseConv3d(4, 6, 3, indice_key='down'))
    with torch.no_grad():
        x = sparse_input(3)
        z = up(down(x))
    assert z.features.shape == (20, 6)


def test_input_is_not_changed():
    x = sparse_input(3)
    before = x.features.clone()
    with torch.no_grad():
        converted(LAYERS[0])(x)
    assert torch.equal(x.features, before)


@pytest.mark.parametrize('num_sites', [0, 1])
@pytest.mark.parametrize('layer', LAYERS, ids=lambda v: str(v)[:12])
def test_scan_without_sites_or_with_one(layer, num_sites):
    with torch.no_grad():
        shape = converted(layer)(sparse_input(3)).dense().shape
        y = converted(layer)(sparse_input(3, num_sites=num_sites))
    assert y.dense().shape == shape
    assert y.features.shape[1] == 6
    assert (len(y.features) == 0) == (num_sites == 0)


@pytest.mark.parametrize('layer', LAYERS, ids=lambda v: str(v)[:12])
def test_gradients_reach_the_weight_and_the_input_in_eval_mode(layer):
    quantized = converted(layer)
    x = sparse_input(3, requires_grad=True)
    quantized(x).features.square().sum().backward()
    assert quantized.weight.grad.abs().sum() > 0
    levels = (x.features / 0.3).round()
    inside = (levels >= -8) & (levels <= 7)
    assert x.features.grad[inside].abs().sum() > 0
    assert x.features.grad[~inside].abs().sum() == 0
