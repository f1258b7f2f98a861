"""Whole encoders: float ones against spconv, quantized ones against the simulation."""

import numpy as np
import pytest
import torch
from lidar_models import random_scan, scan_batch, tiny_anchor_model, tiny_center_point
from sparse_cases import random_sites
from torch import nn

from mmptq.deploy.sparse_engine import SparseNetwork, read_encoder
from mmptq.deploy.sparse_engine.detector import replace_encoder, weights_before
from mmptq.quantization import QuantizationError

spconv = pytest.importorskip('spconv.pytorch')


@pytest.fixture(params=['center', 'second'])
def detector(request, library):
    pytest.importorskip('mmdet3d')
    return tiny_center_point('voxel') if request.param == 'center' else tiny_anchor_model('second')


def network_of(detector: nn.Module, **options) -> SparseNetwork:
    name = 'pts_middle_encoder' if hasattr(detector, 'pts_middle_encoder') else 'middle_encoder'
    encoder = getattr(detector, name)
    return SparseNetwork(read_encoder(encoder, name, encoder.sparse_shape), **options)


@torch.no_grad()
def maps_of(detector: nn.Module, *scans: torch.Tensor) -> torch.Tensor:
    """What enters the backbone."""
    found = []
    name = 'pts_backbone' if hasattr(detector, 'pts_backbone') else 'backbone'
    hook = getattr(detector, name).register_forward_pre_hook(lambda _, args: found.append(args[0]))
    batch = scan_batch(detector, *scans)
    if hasattr(detector, 'pts_backbone'):
        metas = [sample.metainfo for sample in batch['data_samples']]
        detector.extract_feat(batch['inputs'], metas)
    else:
        detector.extract_feat(batch['inputs'])
    hook.remove()
    return found[0]


def test_the_engine_takes_the_place_of_the_encoder(detector):
    columns = 5 if hasattr(detector, 'pts_backbone') else 4
    scans = [random_scan(seed=1, columns=columns), random_scan(50, columns, seed=2)]
    expected = maps_of(detector, *scans)
    single = maps_of(detector, scans[1])
    network = network_of(detector, threads=2)
    replace_encoder(detector, network)
    torch.testing.assert_close(maps_of(detector, *scans), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(maps_of(detector, scans[1]), single, atol=1e-6, rtol=1e-5)
    assert weights_before(detector) == []


def test_scans_without_voxels(library):
    pytest.importorskip('mmdet3d')
    from mmptq.compat.empty_scans import accept_empty_scans

    detector = tiny_center_point('voxel')
    accept_empty_scans(detector)
    scans = [random_scan(seed=1), random_scan(0)]
    expected, empty = maps_of(detector, *scans), maps_of(detector, scans[1])
    replace_encoder(detector, network_of(detector))
    torch.testing.assert_close(maps_of(detector, *scans), expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(maps_of(detector, scans[1]), empty)
    assert not empty.any()


def test_another_config_is_refused(library):
    pytest.importorskip('mmdet3d')
    network = network_of(tiny_center_point('voxel'))
    with pytest.raises(QuantizationError, match="no 'pts_middle_encoder' with the grid"):
        replace_encoder(tiny_anchor_model('second'), network)
    with pytest.raises(QuantizationError, match='takes 5 channels'):
        network(np.ones((1, 4), np.float32), np.zeros((1, 4), np.int32), 1)


@pytest.mark.parametrize('dims', [2, 3])
def test_down_and_up_again(library, dims):
    conv, subm, inverse = (
        getattr(spconv, f'{name}{dims}d')
        for name in ('SparseConv', 'SubMConv', 'SparseInverseConv')
    )
    torch.manual_seed(0)
    layers = [
        subm(4, 8, 3, bias=False, indice_key='sites'),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        conv(8, 12, 3, 2, padding=1, bias=False, indice_key='down'),
        nn.ReLU(),
        inverse(12, 6, 3, bias=False, indice_key='down'),
        nn.ReLU(),
        subm(6, 5, 3, bias=False, indice_key='sites'),
    ]
    layers[1].running_mean.normal_()
    layers[1].weight.data.uniform_(-1, 1)
    sequence = spconv.SparseSequential(*layers).eval()
    model = spconv.SparseSequential(sequence, spconv.ToDense()).eval()
    shape = (7, 9) if dims == 2 else (5, 7, 9)
    sites = random_sites(40, 2, shape)
    features = torch.randn(40, 4)
    with torch.no_grad():
        expected = model(spconv.SparseConvTensor(features, torch.tensor(sites), shape, 2))
    graph = read_encoder(sequence, 'model', shape)
    found = SparseNetwork(graph)(features.numpy(), sites, 2)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)


def test_float_and_integer_readers_of_one_value(library):
    """A value that a quantized layer, a float layer and an addition take."""
    pytest.importorskip('mmdet3d')
    from mmptq.deploy.sparse_engine.layer import InputGrid

    detector = tiny_center_point('voxel')
    encoder = detector.pts_middle_encoder
    graph = read_encoder(encoder, 'pts_middle_encoder', encoder.sparse_shape)
    layer = graph.layers[1]
    scale = np.abs(layer.weight).max((1, 2)) / 127
    layer.weight = np.rint(layer.weight / scale[:, None, None]).astype(np.int8)
    layer.scale, layer.grid = scale.astype(np.float32), InputGrid(0.01, 0, 0, 255)
    batch = scan_batch(detector, random_scan())['inputs']['voxels']
    features = detector.pts_voxel_encoder(batch['voxels'], batch['num_points'], batch['coors'])
    with torch.no_grad():
        expected = encoder(features, batch['coors'], 1)
    found = SparseNetwork(graph)(features.numpy(), batch['coors'].numpy(), 1)
    error = np.linalg.norm(found.reshape(expected.shape) - expected.numpy())
    assert 0 < error < 0.05 * expected.norm()
