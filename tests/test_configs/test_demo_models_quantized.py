"""The trained demo models at INT8 on freshly generated data: the stock metric stays what it was.

Smaller sets than the benchmark's, so the bound is wider than what the benchmark shows.
"""

import pytest
from helpers import ROOT, run_tool

from mmptq.report import read_record

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def demo_coco(make_once):
    from mmptq.demo.coco_scenes import generate

    size = dict(train=32, val=80, seed=5, width=320, height=256)
    return make_once('demo_coco', lambda folder: generate(folder, **size))


@pytest.fixture(scope='module')
def demo_nuscenes(make_once):
    from mmptq.demo.nuscenes_scenes import generate

    size = dict(train=8, val=8, keyframes=3, columns=400, seed=5)
    return make_once('demo_nuscenes', lambda folder: generate(folder, **size))


def quantize(name: str, work_dir, options: list[str]) -> tuple[float, float]:
    """Float and quantized mAP."""
    config = ROOT / f'configs/mse/{name}.py'
    run_tool('ptq', config, '--work-dir', work_dir, '--cfg-options', *options)
    result = read_record(work_dir, 'result')
    (metric,) = [key for key in result['float'] if key.endswith('mAP')]
    return result['float'][metric], result['quantized'][metric]


@pytest.mark.parametrize('name', ['retinanet', 'atss'])
def test_detector(name, demo_coco, tmp_path):
    options = [f'{split}_dataloader.dataset.data_root={demo_coco}' for split in ('train', 'val')]
    options += [f'val_evaluator.ann_file={demo_coco}/annotations/instances_val.json']
    options += ['calibration.num_samples=32']
    before, after = quantize(f'{name}_r18_fpn_mse_int8_demo-coco', tmp_path, options)
    assert before > 0.35
    assert abs(after - before) < 0.015


@pytest.mark.parametrize('kind', ['pillar', 'voxel'])
def test_centerpoint(kind, demo_nuscenes, tmp_path):
    pytest.importorskip('mmdet3d')
    if kind == 'voxel':
        pytest.importorskip('spconv')
    options = [
        f'{split}_dataloader.dataset.data_root={demo_nuscenes}' for split in ('train', 'val')
    ]
    options += [
        f'val_evaluator.data_root={demo_nuscenes}',
        f'val_evaluator.ann_file={demo_nuscenes}/nuscenes_infos_val.pkl',
        'calibration.num_samples=24',
    ]
    before, after = quantize(f'centerpoint_{kind}_mse_int8_demo-nus', tmp_path, options)
    assert before > 0.15
    assert abs(after - before) < 0.02


def test_fcos3d(demo_nuscenes, tmp_path):
    pytest.importorskip('mmdet3d')
    options = [
        f'{split}_dataloader.dataset.data_root={demo_nuscenes}' for split in ('train', 'val')
    ]
    options += [
        f'val_evaluator.data_root={demo_nuscenes}',
        f'val_evaluator.ann_file={demo_nuscenes}/nuscenes_infos_val.pkl',
        'calibration.num_samples=24',
    ]
    before, after = quantize('fcos3d_r18_fpn_mse_int8_demo-nus-mono', tmp_path, options)
    assert before > 0.05
    assert abs(after - before) < 0.01
