"""Layers of the engine against the simulation of a quantized encoder."""

import json

import numpy as np
import pytest
import torch
from lidar_models import random_scan, scan_batch, tiny_anchor_model, tiny_center_point
from torch import nn

from mmptq.deploy.sparse_engine import plan_sparse_export, read_graph
from mmptq.deploy.sparse_engine.detector import open_sparse_network
from mmptq.quantization import QScheme, QuantizationError
from mmptq.quantization.functional import choose_qparams
from mmptq.quantization.layers import QUANT_LAYERS

spconv = pytest.importorskip('spconv.pytorch')
W8 = QScheme(8, symmetric=True, signed=True, narrow=True, channel_axis=0)
SCHEMES = {
    'W8A8': (W8, QScheme(8)),
    'W4A8 with zero points': (QScheme(4, channel_axis=0), QScheme(8)),
    'signed inputs': (W8, QScheme(8, symmetric=True, signed=True)),
    'W4A4': (W8, QScheme(4)),
}


def encode(detector: nn.Module, seed: int) -> torch.Tensor:
    """The map of a scan."""
    second = hasattr(detector, 'middle_encoder')
    inputs = scan_batch(detector, random_scan(columns=4 if second else 5, seed=seed))['inputs']
    encoder = detector.middle_encoder if second else detector.pts_middle_encoder
    means = detector.voxel_encoder if second else detector.pts_voxel_encoder
    voxels = inputs['voxels']
    features = means(voxels['voxels'], voxels['num_points'], voxels['coors'])
    with torch.no_grad():
        return encoder(features, voxels['coors'], 1)


def quantized(detector: nn.Module, weight: QScheme, act: QScheme) -> nn.Module:
    """Ranges of one scan; the first layer has a 16-bit input, and its BatchNorms stay."""
    layers = [m for m in detector.modules() if isinstance(m, spconv.conv.SparseConvolution)]
    seen = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda module, args: seen.update({module: args[0].features.clone()})
        )
        for layer in layers
    ]
    encode(detector, 0)
    for hook in hooks:
        hook.remove()
    for number, layer in enumerate(layers):
        layer.__class__ = QUANT_LAYERS[type(layer)]
        scheme = act if number else QScheme(16)
        layer.attach(weight, scheme)
        rows = layer.weight.detach().flatten(1)
        layer.weight_quantizer.set_qparams(*choose_qparams(rows.amin(1), rows.amax(1), weight))
        low, high = seen[layer].min().view(1), seen[layer].max().view(1)
        layer.input_quantizer.set_qparams(*choose_qparams(low, high, scheme))
        layer.weight.data = layer.weight_quantizer(layer.weight).detach()
    return detector


@pytest.fixture(params=SCHEMES)
def export(request, library):
    pytest.importorskip('mmdet3d')
    kind = tiny_anchor_model if request.param == 'W4A4' else tiny_center_point
    model = kind('second' if request.param == 'W4A4' else 'voxel')
    detector = quantized(model, *SCHEMES[request.param])
    result = plan_sparse_export(detector, dict(config='a.py'))
    with result.watching():
        for seed in (1, 2, 3):
            encode(detector, seed)
    return detector, result


def test_integers_are_those_of_the_simulation(export, tmp_path):
    detector, sparse = export
    rows = sparse.check()
    assert rows[0]['layer'].endswith('voxel_encoder')
    assert rows[0]['different'] == 0
    assert len(rows) == 1 + len(sparse.graph.layers)
    assert all(row['largest'] <= 1 for row in rows)
    assert sum(row['different'] for row in rows) < 1e-3 * sum(row['values'] for row in rows)
    assert sparse.graph.count_layers() == (len(rows) - 1, 0)
    path = sparse.write(tmp_path / 'a.onnx')
    assert path == tmp_path / 'a.sparse.npz'
    assert read_graph(path).metadata == dict(config='a.py')
    json.dumps(sparse.describe())
    network = open_sparse_network(tmp_path / 'a.onnx', dict(sparse=sparse.describe()))
    call = sparse._calls[1]
    found = network(call['features'], call['coords'].astype(np.int32), 1)
    error = np.linalg.norm(found.reshape(call['output'].shape) - call['output'])
    assert error < 0.02 * np.linalg.norm(call['output'])  # a tie may fall to the other side
    assert len(sparse._calls) == 2  # the third scan was not kept


@pytest.mark.parametrize('spoiled', ['weight', 'bias', 'residual'])
def test_a_wrong_layer_is_named(library, spoiled):
    pytest.importorskip('mmdet3d')
    detector = quantized(tiny_center_point('voxel'), *SCHEMES['W8A8'])
    sparse = plan_sparse_export(detector, {})
    layer = sparse.graph.layers[2]
    if spoiled == 'weight':
        layer.weight = layer.weight[:, ::-1].copy()
    elif spoiled == 'bias':
        layer.bias = layer.bias + 10 * np.abs(layer.bias).max() + 1
    else:
        layer.residual = None
    with sparse.watching():
        encode(detector, 1)
    with pytest.raises(QuantizationError, match=f"computes '{layer.name}' differently: "):
        sparse.check()


def test_detectors_without_sparse_layers(library):
    assert plan_sparse_export(nn.Sequential(nn.Conv2d(3, 3, 1)), {}) is None
