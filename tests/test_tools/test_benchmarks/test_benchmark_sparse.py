"""benchmark_sparse.py and benchmark_lidar_deployed.py on a scan of some hundred points."""

import json

import numpy as np
import pytest
from helpers import ROOT, load_tool, run_tool

from mmptq.deploy.sparse_engine import is_built

pytest.importorskip('mmdet3d')
CONFIG = ROOT / 'configs/demo/centerpoint_voxel_demo-nus.py'
pytestmark = pytest.mark.skipif(not is_built(), reason='the sparse engine is not compiled')


@pytest.fixture
def scan(tmp_path):
    generator = np.random.default_rng(0)
    points = generator.uniform((-20, -20, -2, 0, 0), (20, 20, 1, 1, 0), (800, 5))
    points.astype(np.float32).tofile(tmp_path / 'scan.bin')
    return tmp_path / 'scan.bin'


def test_rows_of_all_layers(scan, tmp_path, capsys):
    options = ['--points', scan, '--columns', 5, '--threads', 1, '--rounds', 1]
    run_tool('benchmark_sparse', CONFIG, *options, '--out', tmp_path / 'a.json')
    (rows,) = json.loads((tmp_path / 'a.json').read_text()).values()
    assert len(rows) == 16 + 2
    assert rows[0]['channels'] == '5 to 16'
    assert [row['layer'] for row in rows[-2:]] == ['neighbours', 'encoder']
    assert all(float(row['int8, 1 threads ratio']) > 0 for row in rows)
    assert 'encoder_layers.encoder_layer1.0.conv1' in capsys.readouterr().out


def test_integers_of_the_case_are_near_the_float_encoder(scan):
    import torch

    from mmptq.deploy.sparse_engine import SparseNetwork

    tool = load_tool('benchmark_sparse')
    batches = tool.read_batches([str(scan)], 5)
    detector = tool.random_detector(str(CONFIG))
    tool.measure_norms(detector, batches)
    case = tool.EncoderCase(detector, batches[0])
    with torch.no_grad():
        expected = case.encoder(*case.arguments).numpy()
    features, coords, batch = case.arguments
    found = SparseNetwork(case.graph)(features.numpy(), coords.numpy(), batch)
    error = np.linalg.norm(found.reshape(expected.shape) - expected)
    assert error < 0.1 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'scheme'), [('voxel', 'int8_sparse'), ('pillar', 'int8_lidar')])
def test_from_points_to_boxes(kind, scheme, scan, tmp_path):
    config = ROOT / f'configs/demo/centerpoint_{kind}_demo-nus.py'
    options = ['--points', scan, '--columns', 5, '--threads', 1, '--rounds', 1]
    options += ['--scheme', scheme, '--work-dir', tmp_path, '--out', tmp_path / 'a.json']
    run_tool('benchmark_lidar_deployed', config, *options)
    (row,) = json.loads((tmp_path / 'a.json').read_text())
    assert float(row['integers against PyTorch float']) > 0
    assert (tmp_path / 'integer.sparse.npz').exists()


def test_bad_input(scan, capsys):
    with pytest.raises(SystemExit) as stop:
        run_tool('benchmark_sparse', CONFIG, '--points', scan, '--columns', 3)
    assert 'has no rows of 3 numbers: give --columns' in str(stop.value.code)
    pillars = ROOT / 'configs/demo/centerpoint_pillar_demo-nus.py'
    with pytest.raises(SystemExit) as stop:
        run_tool('benchmark_sparse', pillars, '--points', scan, '--columns', 5)
    assert str(stop.value.code) == 'error: CenterPoint has no sparse encoder'
