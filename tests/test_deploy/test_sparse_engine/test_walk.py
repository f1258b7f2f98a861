"""What the engine reads off the modules of an encoder, and what it refuses."""

import pytest
import torch
from lidar_models import tiny_anchor_model, tiny_center_point
from torch import nn

from mmptq.deploy.sparse_engine import find_sparse_encoder, read_encoder
from mmptq.quantization import QScheme, QuantizationError
from mmptq.quantization.layers import QUANT_LAYERS

spconv = pytest.importorskip('spconv.pytorch')
INT8 = QScheme(8, symmetric=True, signed=True, channel_axis=0)


def read(*modules: nn.Module, shape: tuple = (5, 6, 7)):
    return read_encoder(spconv.SparseSequential(*modules).eval(), 'encoder', shape)


def quantized(weight: QScheme, act: QScheme | None) -> nn.Module:
    layer = spconv.SubMConv3d(4, 6, 3)
    layer.__class__ = QUANT_LAYERS[type(layer)]
    layer.attach(weight, act)
    layer.weight_quantizer.set_qparams(torch.rand(6) + 0.1, torch.zeros(6))
    if act is not None:
        layer.input_quantizer.set_qparams(torch.tensor([0.5]), torch.tensor([10]))
    return layer


def test_encoder_with_residual_blocks():
    pytest.importorskip('mmdet3d')
    detector = tiny_center_point('voxel')
    assert find_sparse_encoder(detector) == 'pts_middle_encoder'
    encoder = detector.pts_middle_encoder
    graph = read_encoder(encoder, 'pts_middle_encoder', encoder.sparse_shape)
    found = [
        (layer.geometry.kind, layer.source, layer.output, layer.residual, layer.target_sites)
        for layer in graph.layers
    ]
    assert found == [
        ('subm', 0, 1, None, 0),
        ('subm', 1, 2, None, 0),
        ('subm', 2, 3, 1, 0),
        ('conv', 3, 4, None, 1),
        ('subm', 4, 5, None, 1),
        ('subm', 5, 6, 4, 1),
        ('conv', 6, 7, None, 2),
    ]
    assert all(layer.relu for layer in graph.layers)
    assert graph.shapes() == {0: (9, 16, 16), 1: (5, 8, 8), 2: (2, 8, 8)}
    assert graph.count_layers() == (0, 7)
    # Layers without an indice_key share their neighbours all the same.
    assert len({layer.lists_key for layer in graph.layers}) == 4


def test_encoder_of_second():
    pytest.importorskip('mmdet3d')
    detector = tiny_anchor_model('second')
    assert find_sparse_encoder(detector) == 'middle_encoder'
    assert find_sparse_encoder(tiny_anchor_model('pointpillars')) is None
    encoder = detector.middle_encoder
    graph = read_encoder(encoder, 'middle_encoder', encoder.sparse_shape)
    assert [layer.geometry.kind for layer in graph.layers] == [
        'subm',
        'subm',
        'conv',
        'subm',
        'conv',
    ]


def test_integers_of_a_quantized_layer():
    conv = quantized(INT8, QScheme(8))
    (layer,) = read(conv).layers
    assert (layer.grid.scale, layer.grid.zero, layer.grid.low, layer.grid.high) == (0.5, 10, 0, 255)
    assert (layer.weight.dtype, layer.weight.shape) == ('int8', (6, 27, 4))
    restored = torch.from_numpy(layer.weight) * torch.from_numpy(layer.scale).view(-1, 1, 1)
    expected = conv.weight_quantizer(conv.weight).reshape(6, 27, 4)
    torch.testing.assert_close(restored, expected)


def test_weights_with_zero_points_and_inputs_of_16_bits():
    conv = quantized(QScheme(4, channel_axis=0), QScheme(16))
    conv.weight_quantizer.zero_point.fill_(8)
    (layer,) = read(conv).layers
    assert layer.weight.min() >= -8
    assert layer.weight.max() <= 7
    assert not layer.grid.is_float
    wide = spconv.SubMConv3d(64, 6, 3)
    wide.__class__ = QUANT_LAYERS[type(wide)]
    wide.attach(INT8, QScheme(16))
    wide.weight_quantizer.set_qparams(torch.full((6,), 1e-4), torch.zeros(6))
    wide.input_quantizer.set_qparams(torch.tensor([0.5]), torch.tensor([10]))
    (layer,) = read(wide).layers  # sums of 27 * 64 products leave int32
    assert layer.grid.is_float
    assert layer.weight.dtype == 'float32'


def refusal_of(*modules: nn.Module) -> str:
    with pytest.raises(QuantizationError) as error:
        read(*modules)
    message = str(error.value)
    assert message.endswith(
        "the sparse engine cannot run 'encoder'; leave it in PyTorch with --sparse-in-pytorch"
    )
    return message.partition(':')[0]


def test_refusals_name_the_layer():
    conv = spconv.SubMConv3d(4, 4, 3)
    assert (
        refusal_of(conv, spconv.SparseMaxPool3d(2))
        == "'encoder.1' (SparseMaxPool3d) is not supported"
    )
    assert refusal_of(conv, nn.GELU()) == "'encoder.1' (GELU) is not supported"
    assert (
        refusal_of(nn.ReLU(), conv) == "'encoder.0' (ReLU) does not directly follow a convolution"
    )
    transposed = spconv.SparseConvTranspose3d(4, 4, 3)
    assert refusal_of(transposed) == "'encoder.0' (SparseConvTranspose3d) is not supported"
    inverse = spconv.SparseInverseConv3d(4, 4, 3, indice_key='down')
    assert 'has no convolution' in refusal_of(inverse)
    assert 'float weights and a quantized input' in refusal_of(_float_weight())
    eight = quantized(QScheme(8, channel_axis=0), QScheme(8))
    eight.weight_quantizer.set_qparams(torch.full((6,), 1e-4), torch.zeros(6))
    assert 'do not fit into int8' in refusal_of(eight)
    assert 'is not supported' in refusal_of(spconv.SparseConv1d(4, 4, 3))
    assert 'holds no sparse convolution' in refusal_of(nn.Identity())
    down = spconv.SparseConv3d(4, 4, 3, 2, indice_key='a')
    assert "uses the indice_key 'a' again" in refusal_of(down, down)


def _float_weight() -> nn.Module:
    layer = quantized(INT8, QScheme(8))
    layer.weight_quantizer = nn.Identity()
    return layer
