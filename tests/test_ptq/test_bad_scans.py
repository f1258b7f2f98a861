"""Scans that are broken, or nearly empty, on their way to the model."""

import os
import shutil

import numpy as np
import pytest

mmdet3d = pytest.importorskip('mmdet3d')

from helpers import ROOT  # noqa: E402
from lidar_models import RANGE, random_scan, scan_batch, tiny_center_point  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from mmptq.ptq import PTQContext  # noqa: E402
from mmptq.ptq.calibration_data import make_loader  # noqa: E402
from mmptq.quantization import QuantizationError  # noqa: E402


@pytest.fixture(scope='module')
def model():
    return tiny_center_point()


@pytest.fixture
def scan(tiny_nuscenes, tmp_path):
    """A data set whose first scan can be broken, and the path of that scan."""
    from mmdet3d.registry import DATASETS

    init_default_scope('mmdet3d')
    folder = tmp_path / 'nuscenes'
    shutil.copytree(tiny_nuscenes, folder, copy_function=os.link)
    cfg = Config.fromfile(ROOT / 'configs/demo/centerpoint_pillar_demo-nus.py')
    dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, data_root=str(folder)))
    path = dataset.get_data_info(0)['lidar_points']['lidar_path']
    shutil.copy(path, tmp_path / 'copy.bin')
    os.remove(path)  # the link, so that the shared file stays sound
    shutil.copy(tmp_path / 'copy.bin', path)
    return dataset, path


def first_batch(model, dataset, tmp_path):
    return PTQContext(model, make_loader(dataset, [0], 0), tmp_path, seed=0).first_batch()


def cut_off(points):
    return points.ravel()[:-3]


def four_columns(points):
    return points[: len(points) // 5 * 5 + 1, :4]


def not_a_number(points):
    points[3, 2] = np.nan
    return points


def infinite(points):
    points[5, 0] = np.inf
    return points


def far_away(points):
    points[:, :2] += 1e4
    return points


CASES = [
    (cut_off, 'cut off or has another number of columns'),
    (four_columns, 'cut off or has another number of columns'),
    (not_a_number, 'holds NaN or Inf in 1 of'),
    (infinite, 'holds NaN or Inf in 1 of'),
    (far_away, 'has no point inside [-48.0'),
    (lambda points: points[:0], 'is an empty file'),
]


@pytest.mark.parametrize(('spoil', 'message'), CASES, ids=lambda v: getattr(v, '__name__', ''))
def test_broken_scan_is_one_sentence_with_its_name(scan, model, tmp_path, spoil, message):
    dataset, path = scan
    points = np.fromfile(path, dtype=np.float32).reshape(-1, 5)
    spoil(points).astype(np.float32).tofile(path)
    with pytest.raises(QuantizationError) as caught:
        first_batch(model, dataset, tmp_path)
    assert message in str(caught.value)
    assert os.path.basename(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_sound_scan_passes(scan, model, tmp_path):
    assert len(first_batch(model, scan[0], tmp_path)['inputs']['points'][0]) > 100


@pytest.mark.parametrize('kind', ['pillar', 'voxel'])
def test_one_voxel_and_more_than_max_voxels(kind):
    if kind == 'voxel':
        pytest.importorskip('spconv')
    model = tiny_center_point(kind)
    one = random_scan(1)
    many = random_scan(20_000)
    limit = model.data_preprocessor.voxel_layer.max_voxels[1]
    data = scan_batch(model, one, many)
    owner = data['inputs']['voxels']['coors'][:, 0]
    assert int((owner == 0).sum()) == 1
    assert int((owner == 1).sum()) == limit < 16 * 16 * (8 if kind == 'voxel' else 1)
    results = model(**data, mode='predict')
    assert len(results) == 2
    assert RANGE[0] < 0  # the grid of the tiny models holds the points of both scans
