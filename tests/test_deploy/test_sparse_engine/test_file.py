"""The file of a sparse encoder, whole, cut off, of another version, of another export."""

import json

import numpy as np
import pytest
from sparse_cases import UINT8, integer_weights

from mmptq.deploy.sparse_engine import SparseGraph, SparseLayer, read_graph, write_graph
from mmptq.deploy.sparse_engine.detector import open_sparse_network
from mmptq.deploy.sparse_engine.file import HEADER, fingerprint, sparse_file_of
from mmptq.deploy.sparse_engine.geometry import STRIDED, SUBM, KernelGeometry
from mmptq.deploy.sparse_engine.layer import InputGrid
from mmptq.deploy.sparse_engine.points import PointEncoder, PointLayer, VoxelGrid
from mmptq.quantization import QuantizationError


def small_graph() -> SparseGraph:
    first = KernelGeometry(SUBM, (3, 3, 3))
    second = KernelGeometry(STRIDED, (1, 3, 3), (1, 2, 2))
    rest = dict(scale=np.ones(8, np.float32), bias=np.zeros(8, np.float32), grid=UINT8)
    layers = [
        SparseLayer('a', first, integer_weights(8, 27, 4), **rest, **sites(0, 1, 0, 0), relu=True),
        SparseLayer('b', second, integer_weights(8, 9, 8), **rest, **sites(1, 2, 0, 1)),
    ]
    return SparseGraph('encoder', (5, 6, 7), 4, layers, dict(config='a.py'))


def sites(source: int, output: int, before: int, behind: int) -> dict:
    return dict(source=source, output=output, source_sites=before, target_sites=behind)


@pytest.fixture
def path(tmp_path):
    write_graph(small_graph(), tmp_path / 'a.sparse.npz')
    return tmp_path / 'a.sparse.npz'


def changed(path, **changes):
    """The same file with other entries."""
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays[HEADER].tobytes())
    header.update({key: value for key, value in changes.items() if key in header})
    arrays.update({key: value for key, value in changes.items() if key in arrays})
    arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


def error_of(path) -> str:
    with pytest.raises(QuantizationError) as error:
        read_graph(path)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_what_is_written_is_read(path):
    graph, original = read_graph(path), small_graph()
    assert (graph.shape, graph.in_channels, graph.encoder) == ((5, 6, 7), 4, 'encoder')
    assert graph.metadata == dict(config='a.py')
    assert fingerprint(graph) == fingerprint(original)
    for found, expected in zip(graph.layers, original.layers, strict=True):
        assert found.geometry == expected.geometry
        assert found.grid == expected.grid
        np.testing.assert_array_equal(found.weight, expected.weight)
    assert sparse_file_of('x/a.onnx').name == 'a.sparse.npz'


def test_damaged_files(path, tmp_path):
    assert 'does not exist' in error_of(tmp_path / 'b.sparse.npz')
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        assert 'is damaged or no sparse encoder' in error_of(path)
    path.write_bytes(whole[:900] + b'xxxx' + whole[904:])
    assert 'is damaged or no sparse encoder' in error_of(path)


def test_another_version(path):
    changed(path, format=7, mmptq_version='9.0')
    error = error_of(path)
    assert 'has format 7 of mmptq 9.0' in error and 'damaged' not in error
    assert 'export it again with tools/export.py' in error


@pytest.mark.parametrize(
    'changes',
    [
        dict(weight_0=integer_weights(8, 26, 4)),
        dict(weight_1=integer_weights(8, 9, 8).astype(np.float32)),
        dict(bias_1=np.zeros(7, np.float32)),
        dict(in_channels=5),
    ],
)
def test_arrays_that_do_not_fit(path, changes):
    changed(path, **changes)
    assert "the arrays of layer '" in error_of(path)


def test_objects_are_not_unpickled(path):
    changed(path, weight_0=np.array([{}, []], dtype=object))
    assert 'is damaged or no sparse encoder' in error_of(path)


def test_files_of_two_exports(path, library):
    beside = path.with_name('a.onnx')
    known = dict(sparse=dict(fingerprint=fingerprint(small_graph())))
    assert open_sparse_network(beside, {}) is None
    assert open_sparse_network(beside, known).graph.count_layers() == (2, 0)
    changed(path, bias_1=np.ones(8, np.float32))
    with pytest.raises(QuantizationError, match='was not exported together with'):
        open_sparse_network(beside, known)


INTEGERS = (InputGrid(), InputGrid(0.5, 3, 0, 255))


def pillars() -> SparseGraph:
    """Pillars with two layers and no convolution behind them."""
    grid = VoxelGrid((1.0, 1.0, 8.0), (-4.0, -4.0, -4.0), (9, 8, 1), 4, 50)
    sizes = ((7, 2), (4, 3))
    layers = [
        PointLayer(f'p.{n}', np.ones(size, np.float32), np.ones(size[1], np.float32), INTEGERS[n])
        for n, size in enumerate(sizes)
    ]
    points = PointEncoder(grid, 4, layers, voxel_center=True, center_size=(1.0, 1.0, 8.0))
    return SparseGraph('pts_middle_encoder', (1, 8, 9), 3, [], {}, points)


def test_a_point_encoder_is_read_back(tmp_path):
    path, original = tmp_path / 'a.sparse.npz', pillars()
    write_graph(original, path)
    graph = read_graph(path)
    assert fingerprint(graph) == fingerprint(original)
    assert graph.count_layers() == (1, 1)
    found, expected = graph.points, original.points
    for a, b in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)
        assert (a.name, a.grid) == (b.name, b.grid)
    found.layers = expected.layers = []
    assert found == expected


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        (dict(point_weight_1=np.ones((5, 3), np.float32)), "layer 'p.1' takes 5 features"),
        (dict(point_bias_0=np.ones(3, np.float32)), "layer 'p.0' takes 7 features"),
        (dict(point_bias_0=np.ones(2)), 'not float32'),
        (dict(in_channels=4), 'does not fit the sparse encoder'),
    ],
)
def test_point_arrays_that_do_not_fit(tmp_path, changes, problem):
    path = tmp_path / 'a.sparse.npz'
    write_graph(pillars(), path)
    changed(path, **changes)
    assert problem in error_of(path)
