"""The trained demo lane models at INT8 on freshly generated roads: the stock metric stays high.

Fewer images than the benchmark's, so the bounds are wider than what the benchmark shows.
"""

import pytest
from helpers import ROOT, run_tool
from mmengine.config import Config

from mmptq.report import read_record

QUICK = ('bezierlanenet_r18', 'laneatt_r18', 'scnn_r18')
CASES = [
    pytest.param(path, marks=[pytest.mark.slow] * (not path.stem.startswith(QUICK)), id=path.stem)
    for path in sorted((ROOT / 'configs/demo/checkpoints').glob('*_demo-lane.pth'))
]


@pytest.fixture(scope='module')
def demo_lanes(make_once):
    from mmptq.demo.lane_scenes import generate

    return make_once('demo_lane', lambda folder: generate(folder, train=8, val=20, seed=5))


@pytest.mark.parametrize('checkpoint', CASES)
def test_float_and_int8(checkpoint, demo_lanes, tmp_path):
    name = checkpoint.stem.removesuffix('_demo-lane')
    config = ROOT / f'configs/mse/{name}_mse_int8_demo-lane.py'
    options = ['calibration.num_samples=8', 'val_dataloader.num_workers=0']
    options += ['val_dataloader.persistent_workers=False']
    for loader in ('train_dataloader', 'val_dataloader'):
        repeated = Config.fromfile(config)[loader].dataset.type == 'RepeatDataset'
        dataset = f'{loader}.dataset.dataset' if repeated else f'{loader}.dataset'
        options.append(f'{dataset}.data_root={demo_lanes}')
    run_tool('ptq', config, '--work-dir', tmp_path, '--cfg-options', *options)
    result = read_record(tmp_path, 'result')
    before, after = (result[key]['culane/F1'] for key in ('float', 'quantized'))
    assert before > 0.75
    assert abs(after - before) < 0.04
