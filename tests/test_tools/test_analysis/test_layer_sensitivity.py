"""The metric with one layer or group quantized at a time."""

import json

import pytest
from helpers import ROOT, run_tool

FLOAT = ROOT / 'configs/demo/bezierlanenet_r18_demo-lane.py'
CHECKPOINT = ROOT / 'configs/demo/checkpoints/bezierlanenet_r18_demo-lane.pth'


def test_table_of_a_lane_model(tiny_lanes, tmp_path, capsys):
    options = ['calibration.num_samples=2', 'val_dataloader.num_workers=0']
    options += ['val_dataloader.persistent_workers=False']
    options += [f'train_dataloader.dataset.dataset.data_root={tiny_lanes}/']
    options += [f'val_dataloader.dataset.data_root={tiny_lanes}/']
    out = tmp_path / 'table.json'
    arguments = (FLOAT, CHECKPOINT, '--scheme', 'w4a4', '--recipe', 'mse')
    arguments += ('--work-dir', tmp_path, '--num-images', 3)
    groups = ('--groups', 'lane_head.*', 'backbone.*', '--mode', 'except')
    run_tool('layer_sensitivity', *arguments, *groups, '--out', out, '--cfg-options', *options)
    rows = json.loads(out.read_text())
    names = ['(float)', '(all)', 'all but lane_head.*', 'all but backbone.*']
    assert [row['quantized'] for row in rows] == names
    assert all(0 <= row['culane/F1'] <= 1 for row in rows)
    assert rows[0]['culane/mF1'] != rows[1]['culane/mF1']
    assert 'all but backbone.*' in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--groups 'nek.*' matches no quantized layer"):
        run_tool('layer_sensitivity', *arguments, '--groups', 'nek.*', '--cfg-options', *options)
