"""Scans that are broken, or nearly empty, on their way to the model."""

import os
import shutil

import numpy as np
import pytest
import torch

mmdet3d = pytest.importorskip('mmdet3d')

from helpers import ROOT  # noqa: E402
from lidar_models import (  # noqa: E402
    RANGE,
    random_scan,
    scan_batch,
    tiny_anchor_model,
    tiny_center_point,
)
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from mmptq.compat.empty_scans import accept_empty_scans  # noqa: E402
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


@pytest.mark.parametrize('kind', ['pillar', 'voxel', 'pointpillars', 'second'])
def test_batches_that_end_with_an_empty_scan(kind):
    stock = kind in ('pillar', 'voxel')
    build, columns = (tiny_center_point, 5) if stock else (tiny_anchor_model, 4)
    if kind in ('voxel', 'second'):
        pytest.importorskip('spconv')
    model, full, empty = build(kind), random_scan(100, columns), torch.zeros(0, columns)
    # mmdet3d itself can do this: some voxel belongs to the last scan.
    of_empty, of_full = detections(model, empty, full)
    accept_empty_scans(model)
    accept_empty_scans(model)  # a second time does nothing
    assert_same(detections(model, empty, full), [of_empty, of_full])
    assert_same(detections(model, full, empty), [of_full, of_empty])
    assert_same(detections(model, empty), [of_empty])
    assert_same(detections(model, empty, empty), [of_empty, of_empty])


@torch.no_grad()
def detections(model, *scans):
    results = model(**scan_batch(model, *scans), mode='predict')
    assert len(results) == len(scans)
    return [r.pred_instances_3d for r in results]


def assert_same(first, second):
    for x, y in zip(first, second, strict=True):
        assert torch.equal(x.labels_3d, y.labels_3d)
        assert torch.allclose(x.scores_3d, y.scores_3d, atol=1e-5)
        assert torch.allclose(x.bboxes_3d.tensor, y.bboxes_3d.tensor, atol=1e-4)
