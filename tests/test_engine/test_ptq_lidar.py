"""CenterPoint, pillar and voxel: from float to a checkpoint that mmdet3d's own tool evaluates."""

import json

import pytest
import torch
from fresh_process import run_fresh
from helpers import ROOT, run_tool
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmptq.engine import load_quantized
from mmptq.quantization import quantized_layers
from mmptq.report import read_record

mmdet3d = pytest.importorskip('mmdet3d')


@pytest.fixture(params=['voxel', pytest.param('pillar', marks=pytest.mark.slow)])
def lidar(request, tiny_nuscenes, tmp_path):
    """Config file of a PTQ run on random weights."""
    if request.param == 'voxel':
        pytest.importorskip('spconv')
    from mmdet3d.registry import MODELS

    cfg = Config.fromfile(ROOT / f'configs/mse/centerpoint_{request.param}_mse_int8_demo-nus.py')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = str(tiny_nuscenes)
        loader.update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.data_root = str(tiny_nuscenes)
        evaluator.ann_file = str(tiny_nuscenes / 'nuscenes_infos_val.pkl')
    cfg.model.pts_backbone.layer_nums = [1] * len(cfg.model.pts_backbone.layer_nums)
    # Random weights find something everywhere, and the metric takes time for each box.
    cfg.model.pts_bbox_head.bbox_coder.max_num = 20
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    cfg.load_from = str(tmp_path / 'float.pth')
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, cfg.load_from)
    cfg.calibration = dict(num_samples=2)
    cfg.train_cfg.val_float = False
    cfg.work_dir = str(tmp_path / 'work')
    cfg.dump(tmp_path / 'lidar.py')
    return tmp_path / 'lidar.py'


def test_all_layers_are_quantized_and_mmdet3d_tests_the_result(lidar):
    run_tool('ptq', lidar)
    work = lidar.parent / 'work'
    rows = json.loads((work / 'coverage.json').read_text())
    floats = [row['layer'] for row in rows if row['weight'] == 'float']
    sparse = [row for row in rows if 'Conv3d' in row['kind']]
    cfg = Config.fromfile(lidar)
    if cfg.model.pts_middle_encoder.type == 'SparseEncoder':
        assert floats == []
        assert len(sparse) > 10
        assert all(row['weight'].startswith('int8') for row in sparse)
        inputs = [row['input'].split()[0] for row in sparse]
        assert inputs == ['uint16'] + ['uint8'] * (len(sparse) - 1)
    else:  # the PFN stays float; its BatchNorm does not follow its linear layer directly
        assert floats == [
            'pts_voxel_encoder.pfn_layers.0.linear',
            'pts_voxel_encoder.pfn_layers.0.norm',
        ]
    expected = read_record(work, 'result')['quantized']

    script = f'{mmdet3d.__path__[0]}/.mim/tools/test.py'
    test_dir = lidar.parent / 'test'
    done = run_fresh(script, lidar, work / 'quantized.pth', '--work-dir', test_dir)
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = test_dir.glob('*/*.json')
    metrics = json.loads(log.read_text().splitlines()[-1])
    # The record has null for NaN, for which JSON has no word.
    found = {key: metrics[key] for key in expected}
    assert {key: None if value != value else value for key, value in found.items()} == expected

    from mmdet3d.apis import init_model
    from mmdet3d.registry import MODELS

    init_default_scope('mmdet3d')
    model = load_quantized(MODELS.build(cfg.model), work / 'quantized.pth')
    assert len(quantized_layers(model)) == len(rows) - len(floats)
    again = init_model(str(lidar), str(work / 'quantized.pth'), device='cpu')
    states = model.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert len(quantized_layers(again)) == len(rows) - len(floats)
