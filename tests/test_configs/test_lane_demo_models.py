"""The trained demo lane models at INT8 on freshly generated roads: the stock metric stays high.

Fewer images than the benchmark's, so the bounds are wider than what the benchmark shows.
"""

import json

import pytest
from helpers import ROOT, run_tool

CHECKPOINTS = sorted((ROOT / 'configs/demo/checkpoints').glob('*_demo-lane.pth'))


@pytest.fixture(scope='module')
def demo_lanes(tmp_path_factory):
    from mmptq.demo.lane_scenes import generate

    folder = tmp_path_factory.mktemp('demo') / 'lane'
    generate(folder, train=16, val=40, seed=5)
    return folder


@pytest.mark.parametrize('checkpoint', CHECKPOINTS, ids=lambda path: path.stem)
def test_float_and_int8(checkpoint, demo_lanes, tmp_path):
    name = checkpoint.stem.removesuffix('_demo-lane')
    options = [f'{split}_dataloader.dataset.data_root={demo_lanes}' for split in ('train', 'val')]
    options += ['calibration.num_samples=16', 'val_dataloader.num_workers=0']
    options += ['val_dataloader.persistent_workers=False']
    config = ROOT / f'configs/mse/{name}_mse_int8_demo-lane.py'
    run_tool('ptq', config, '--work-dir', tmp_path, '--cfg-options', *options)
    result = json.loads((tmp_path / 'result.json').read_text())
    before, after = (result[key]['culane/F1'] for key in ('float', 'quantized'))
    assert before > 0.75
    assert abs(after - before) < 0.03
