"""The metric with one layer or group quantized at a time."""

import json
from types import SimpleNamespace

import pytest
from helpers import ROOT, load_tool, run_tool
from torch import nn

LEAF = ROOT / 'configs/mse/bezierlanenet_r18_mse_w4a4_demo-lane.py'


def test_table_of_a_lane_model(tiny_lanes, tmp_path, capsys):
    options = ['calibration.num_samples=2', 'val_dataloader.num_workers=0']
    options += ['val_dataloader.persistent_workers=False']
    options += [f'train_dataloader.dataset.dataset.data_root={tiny_lanes}/']
    options += [f'val_dataloader.dataset.data_root={tiny_lanes}/']
    out = tmp_path / 'table.json'
    arguments = (LEAF, '--work-dir', tmp_path, '--num-images', 3)
    groups = ('--groups', 'lane_head.*', 'backbone.*', '--mode', 'except')
    run_tool('layer_sensitivity', *arguments, *groups, '--out', out, '--cfg-options', *options)
    rows = json.loads(out.read_text())
    names = ['(float)', '(all)', 'all but lane_head.*', 'all but backbone.*']
    assert [row['quantized'] for row in rows] == names
    assert all(0 <= row['culane/F1'] <= 1 for row in rows)
    assert rows[0]['culane/mF1'] != rows[1]['culane/mF1']
    assert 'all but backbone.*' in capsys.readouterr().out
    with pytest.raises(SystemExit, match="'nek.*' matches none of 28 quantized layers"):
        run_tool('layer_sensitivity', *arguments, '--groups', 'nek.*', '--cfg-options', *options)


def test_quantizers_of_one_part_of_one_layer():
    def layer(float_input=False):
        slots = [SimpleNamespace(enabled=True) for _ in range(2)]
        return SimpleNamespace(
            weight_quantizer=slots[0], input_quantizer=nn.Identity() if float_input else slots[1]
        )

    layers = dict(a=layer(), b=layer(float_input=True))
    with load_tool('layer_sensitivity').only(layers, {'a'}, ('input',)):
        states = [layers['a'].weight_quantizer, layers['a'].input_quantizer]
        assert [slot.enabled for slot in states] == [False, True]
        assert not layers['b'].weight_quantizer.enabled
    assert all(layer.weight_quantizer.enabled for layer in layers.values())
