"""Voxels of points and their features, against mmdet3d."""

import numpy as np
import pytest
import torch
from sparse_cases import ISAS, kernels_of

from mmptq.deploy.sparse_engine.graph import SparseGraph
from mmptq.deploy.sparse_engine.layer import InputGrid, Kernels
from mmptq.deploy.sparse_engine.network import SparseNetwork
from mmptq.deploy.sparse_engine.point_features import PointFeatures
from mmptq.deploy.sparse_engine.points import PointEncoder, PointLayer, VoxelGrid
from mmptq.quantization import QuantizationError

GRID = VoxelGrid((0.5, 0.4, 2.0), (-4.0, -3.2, -2.0), (16, 16, 2), 4, 150)


def scan(count: int = 600, columns: int = 4, seed: int = 0) -> np.ndarray:
    """Points, some outside of the grid and some that are no numbers."""
    generator = np.random.default_rng(seed)
    points = generator.normal(0, 2, (count, columns)).astype(np.float32)
    points[::97, 1] = np.nan
    points[::89, 0] = np.inf
    points[5:6, :3] = GRID.low  # on the edge
    return points


def voxels_of_mmdet3d(points: np.ndarray, grid: VoxelGrid):
    """Padded points, coordinates (batch, z, y, x) and numbers of points."""
    voxelize = pytest.importorskip('mmdet3d.models.data_preprocessors.voxelize')
    high = [low + size * n for low, size, n in zip(grid.low, grid.size, grid.shape, strict=True)]
    layer = voxelize.VoxelizationByGridShape(
        point_cloud_range=[*grid.low, *high],
        voxel_size=list(grid.size),
        max_num_points=grid.most_points,
        max_voxels=grid.most_voxels,
    ).eval()
    voxels, coords, counts = layer(torch.from_numpy(points))
    return voxels, torch.nn.functional.pad(coords, (1, 0)), counts


@pytest.mark.parametrize(('most_points', 'most_voxels'), [(4, 150), (1, 1000), (10, 1)])
def test_voxels_and_means_are_those_of_mmdet3d(library, most_points, most_voxels):
    grid = VoxelGrid(GRID.size, GRID.low, GRID.shape, most_points, most_voxels)
    points = PointFeatures(Kernels(library), PointEncoder(grid, 4))
    for seed, count in enumerate((600, 2000, 30)):  # memory of another scan
        voxels, coords, counts = voxels_of_mmdet3d(scan(count, 4, seed), grid)
        features, found = points([scan(count, 4, seed)])
        np.testing.assert_array_equal(found, coords.numpy())
        np.testing.assert_array_equal(features, (voxels.sum(1) / counts[:, None]).numpy())


def test_a_batch_and_empty_scans(library):
    points = PointFeatures(Kernels(library), PointEncoder(GRID, 3))
    nothing, outside = scan(0), np.full((3, 4), 1e6, np.float32)
    features, coords = points([scan(), nothing, scan(seed=1), outside])
    alone = [points([scan(seed=seed)]) for seed in (0, 1)]
    np.testing.assert_array_equal(features, np.concatenate([f for f, _ in alone]))
    np.testing.assert_array_equal(coords[:, 1:], np.concatenate([c for _, c in alone])[:, 1:])
    assert np.unique(coords[:, 0]).tolist() == [0, 2]
    assert [len(part) for part in points([nothing])] == [0, 0]


def pillar_encoder(**options):
    """mmdet3d's pillar encoder with lively statistics."""
    encoders = pytest.importorskip('mmdet3d.models.voxel_encoders')
    high = [low + size * n for low, size, n in zip(GRID.low, GRID.size, GRID.shape, strict=True)]
    torch.manual_seed(0)
    module = encoders.PillarFeatureNet(
        **{
            **dict(in_channels=4, feat_channels=(16,), voxel_size=GRID.size),
            **dict(point_cloud_range=[*GRID.low, *high]),
            **options,
        }
    ).eval()
    for name, buffer in module.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    return module


def read(module, grid: VoxelGrid = GRID) -> PointEncoder:
    from mmptq.deploy.sparse_engine.read_points import pillar_encoder as read_module

    return read_module(module, grid, 'pts_voxel_encoder')


@pytest.mark.parametrize(
    'options',
    [
        dict(legacy=False),
        dict(legacy=True),
        dict(with_distance=True, legacy=False),
        dict(with_cluster_center=False),
        dict(with_voxel_center=False),
        dict(feat_channels=(32, 24), legacy=False),
        dict(feat_channels=(7,)),
    ],
    ids=str,
)
def test_pillars_are_those_of_mmdet3d(library, options):
    module = pillar_encoder(**options)
    voxels, coords, counts = voxels_of_mmdet3d(scan(), GRID)
    with torch.no_grad():
        expected = module(voxels.clone(), counts, coords).numpy()
    features, found = PointFeatures(Kernels(library), read(module))([scan()])
    np.testing.assert_array_equal(found, coords.numpy())
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('isa', ISAS)
def test_all_instruction_sets_and_threads_give_the_same_bits(library, isa):
    encoder = read(pillar_encoder(feat_channels=(32, 24)))
    expected = PointFeatures(Kernels(library, 'plain'), encoder)([scan()])[0]
    features = PointFeatures(kernels_of(library, isa, 2), encoder)([scan()])[0]
    np.testing.assert_array_equal(features, expected)


def test_a_quantized_layer_rounds_its_input(library):
    weight = np.eye(4, dtype=np.float32)
    layer = PointLayer('a', weight, np.zeros(4, np.float32), InputGrid(0.25, 128, 0, 255))
    grid = VoxelGrid((8.0, 8.0, 8.0), (-4.0, -4.0, -4.0), (1, 1, 1), 1, 1)
    points = PointFeatures(Kernels(library), PointEncoder(grid, 4, [layer]))
    features, _ = points([np.array([[0.3, 0.374, -1.0, 100.0]], np.float32)])
    np.testing.assert_array_equal(features, [[0.25, 0.25, 0.0, 31.75]])


def test_points_with_other_columns_are_refused(library):
    points = PointFeatures(Kernels(library), read(pillar_encoder()))
    for wrong in (scan(columns=5), scan(columns=3), scan()[:, 0]):
        with pytest.raises(QuantizationError, match='the exported detector takes 4 numbers'):
            points([wrong])


@pytest.mark.parametrize('isa', ISAS)
@pytest.mark.parametrize('depth', [1, 2])
def test_maps_of_bytes(library, isa, depth):
    """A graph without layers gives the map of its input; uint8 in the order of the engines."""
    kernels_of(library, isa)
    generator = np.random.default_rng(0)
    cells = generator.permutation(2 * depth * 6 * 7)[:40]
    coords = np.stack(np.unravel_index(cells, (2, depth, 6, 7)), 1).astype(np.int32)
    features = generator.normal(size=(40, 5)).astype(np.float32)
    network = SparseNetwork(SparseGraph('a', (depth, 6, 7), 5), isa, threads=2)
    floats = network(features, coords, 2)
    expected = np.zeros((2, 5, depth, 6, 7), np.float32)
    expected[coords[:, 0], :, coords[:, 1], coords[:, 2], coords[:, 3]] = features
    np.testing.assert_array_equal(floats, expected)
    network.output_grid = InputGrid(0.02, 100, 0, 255)
    for _ in range(2):  # the memory is used again
        found = network(features, coords, 2)
        assert found.shape == (2, 6, 7, 5 * depth)
        integers = np.clip(np.rint(expected * (np.float32(1) / np.float32(0.02))) + 100, 0, 255)
        integers = integers.reshape(2, 5 * depth, 6, 7).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(found, integers)


def test_what_the_kernels_cannot_run():
    wide = pillar_encoder(feat_channels=(512,))
    assert 'more than 256 features' in read(wide).problem()
    many = VoxelGrid(GRID.size, GRID.low, GRID.shape, 200, 150)
    assert 'more than 128 points' in read(pillar_encoder(), many).problem()
    endless = VoxelGrid(GRID.size, GRID.low, GRID.shape, -1, -1)
    assert 'must be limited' in PointEncoder(endless, 4).problem()
    huge = VoxelGrid(GRID.size, GRID.low, (4096, 4096, 512), 4, 150)
    assert '2^31 cells' in PointEncoder(huge, 4).problem()
    assert read(pillar_encoder(mode='avg')) is None
    layer = PointLayer('b', np.zeros((3, 2), np.float32), np.zeros(2, np.float32), InputGrid())
    assert "layer 'b' takes 3 features in place of 4" in PointEncoder(GRID, 4, [layer]).problem()
