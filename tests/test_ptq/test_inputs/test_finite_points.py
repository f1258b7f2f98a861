"""Points with NaN or Inf: dropped with a count where they are few, refused where they are many."""

import shutil

import numpy as np
import pytest

pytest.importorskip('mmdet3d')

from helpers import ROOT  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from mmptq.ptq.calibration_data import calibration_loader, dropped_rows  # noqa: E402
from mmptq.ptq.inputs.finite_points import FinitePoints, with_finite_points  # noqa: E402
from mmptq.quantization import QuantizationError  # noqa: E402
from mmptq.utils.scan_file import bad_points_problem  # noqa: E402


@pytest.mark.parametrize(
    ('bad', 'total', 'nan_points', 'refused'),
    [
        (9, 1000, None, False),
        (10, 1000, None, True),
        (999, 1000, 'drop', False),
        (1000, 1000, 'drop', True),
        (1, 1000, 'error', True),
        (0, 1000, 'error', False),
    ],
)
def test_share(bad, total, nan_points, refused):
    assert bool(bad_points_problem(bad, total, nan_points)) is refused


def test_place_in_a_pipeline():
    load, sweeps = dict(type='LoadPointsFromFile'), dict(type='mmdet3d.LoadPointsFromMultiSweeps')
    rest = dict(type='Pack3DDetInputs')
    step = dict(type=FinitePoints, nan_points='drop')
    assert with_finite_points([load, sweeps, rest], 'drop') == [load, sweeps, step, rest]
    assert with_finite_points([rest], None) == [rest]


def test_finite_points_stay_as_they_are():
    from mmdet3d.structures import LiDARPoints

    points = np.random.rand(300, 5).astype(np.float32)
    clean = LiDARPoints(points, points_dim=5)
    assert FinitePoints()(dict(points=clean))['points'] is clean
    points[7, 4], points[9, 0] = np.nan, np.inf
    kept = FinitePoints()(dict(points=LiDARPoints(points, points_dim=5)))['points']
    assert np.array_equal(kept.numpy(), np.delete(points, [7, 9], axis=0))
    points[:3] = np.nan
    with pytest.raises(QuantizationError, match='NaN or Inf in 5 of 300 points.*nan_points=drop'):
        FinitePoints()(dict(points=LiDARPoints(points, points_dim=5)))


def nuscenes(folder, **calibration):
    """The demo config on a copy of the tiny data, whose keyframes hold NaN in some points."""
    init_default_scope('mmdet3d')
    cfg = Config.fromfile(ROOT / 'configs/demo/centerpoint_pillar_demo-nus.py')
    cfg.train_dataloader.dataset.data_root = str(folder)
    cfg.train_dataloader.num_workers = 0
    cfg.calibration = calibration
    return cfg


@pytest.fixture
def spoiled(tiny_nuscenes, tmp_path):
    """A function that writes NaN into the first points of every keyframe, and its folder."""
    folder = tmp_path / 'nuscenes'
    shutil.copytree(tiny_nuscenes, folder)

    def spoil(count):
        for path in folder.glob('samples/*/*.bin'):
            points = np.fromfile(path, dtype=np.float32).reshape(-1, 5)
            points[:count, 2] = np.nan
            points.tofile(path)

    return folder, spoil


def test_few_are_dropped_and_counted(spoiled, tiny_nuscenes):
    folder, spoil = spoiled
    spoil(20)
    loader = calibration_loader(nuscenes(folder))
    rows = dropped_rows(loader.dataset)
    assert len(rows) == 4
    # The second keyframe of a scene gets the first one as a sweep.
    assert sorted(row['dropped'] for row in rows) == [20, 20, 40, 40]
    batch = next(iter(loader))
    points = batch['inputs']['points'][0]
    assert points.isfinite().all()
    whole = next(iter(calibration_loader(nuscenes(tiny_nuscenes))))['inputs']['points'][0]
    assert 0 < len(whole) - len(points) <= 20 * 11  # keyframe, and ten sweeps that repeat it


def test_those_of_sweeps_are_counted_and_refused(spoiled):
    folder, _ = spoiled
    loader = calibration_loader(nuscenes(folder))
    assert dropped_rows(loader.dataset) == []
    info = loader.dataset.dataset.get_data_info(1)
    own = info['lidar_points']['lidar_path']
    sweep = info['lidar_sweeps'][0]['lidar_points']['lidar_path']
    assert sweep != own
    used = [x['lidar_points']['lidar_path'] for x in info['lidar_sweeps'][:10]].count(sweep)
    points = np.fromfile(sweep, dtype=np.float32).reshape(-1, 5)
    points[:20, 2] = np.nan
    points.tofile(sweep)
    rows = dropped_rows(calibration_loader(nuscenes(folder, nan_points='drop')).dataset)
    assert {row['scan']: row['dropped'] for row in rows}[own] == 20 * used
    points[:, 0] = np.inf
    points.tofile(sweep)
    with pytest.raises(QuantizationError) as caught:
        calibration_loader(nuscenes(folder))
    message = str(caught.value)
    assert 'holds NaN or Inf in' in message
    assert message.endswith('with --cfg-options calibration.nan_points=drop')


def test_many_are_refused_unless_told(spoiled):
    folder, spoil = spoiled
    spoil(100)
    with pytest.raises(QuantizationError) as caught:
        calibration_loader(nuscenes(folder))
    message = str(caught.value)
    assert 'holds NaN or Inf in 100 of' in message
    assert message.endswith('with --cfg-options calibration.nan_points=drop')
    assert len(calibration_loader(nuscenes(folder, nan_points='drop'))) == 4
    spoil(20)
    with pytest.raises(QuantizationError, match='holds NaN or Inf'):
        calibration_loader(nuscenes(folder, nan_points='error'))


def test_folder_of_scans(spoiled):
    folder, spoil = spoiled
    spoil(20)
    data = folder / 'samples/LIDAR_TOP'
    cfg = nuscenes('nowhere', data=str(data))
    cfg.val_dataloader.dataset.data_root = 'nowhere'
    cfg.train_dataloader = None
    loader = calibration_loader(cfg)
    assert len(loader) == len(list(data.iterdir())) == 8
    assert len(loader.dataset.dropped) == 8
    assert loader.dataset.dataset.metainfo['classes'][0] == 'car'
    batch = next(iter(loader))
    assert batch['inputs']['points'][0].shape[1] == 5
    assert batch['data_samples'][0].box_type_3d.__name__ == 'LiDARInstance3DBoxes'
    next(data.iterdir()).write_bytes(b'123')
    with pytest.raises(QuantizationError, match='3 bytes, which are no whole points'):
        calibration_loader(cfg)
