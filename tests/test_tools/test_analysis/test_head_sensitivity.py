"""Lane distortion by head, ratio and place."""

import json

import cv2
import pytest
import torch
from focus_toys import ToyLaneAdapter, raw
from helpers import ROOT, load_tool, run_tool

FLOAT = ROOT / 'configs/demo/bezierlanenet_r18_demo-lane.py'
CHECKPOINT = ROOT / 'configs/demo/checkpoints/bezierlanenet_r18_demo-lane.pth'


def test_errors_inside_and_outside_have_the_energy_of_the_whole():
    tool = load_tool('head_sensitivity')
    one, other = raw([1.0, -1.0], [10.0, 20.0]), raw([1.0, -1.0], [13.0, 24.0])
    found = tool.errors_by_place(ToyLaneAdapter(), one, other)
    assert found['everywhere']['x'].flatten().tolist() == [3, 4]
    torch.testing.assert_close(found['foreground']['x'].flatten(), torch.tensor([5.0, 0]))
    torch.testing.assert_close(found['background']['x'].flatten(), torch.tensor([0, 5.0]))
    assert not found['foreground']['score'].any()


def test_table_and_picture(tiny_lanes, tmp_path, capsys):
    options = ['calibration.num_samples=2', 'val_dataloader.num_workers=0']
    options += ['val_dataloader.persistent_workers=False', 'calibration.overlap=warn']
    options += [f'train_dataloader.dataset.dataset.data_root={tiny_lanes}/']
    options += [f'val_dataloader.dataset.data_root={tiny_lanes}/']
    out, picture = tmp_path / 'table.json', tmp_path / 'curves.png'
    arguments = (FLOAT, CHECKPOINT, '--scheme', 'w4a4', '--recipe', 'minmax')
    arguments += ('--work-dir', tmp_path, '--out', out, '--picture', picture)
    arguments += ('--ratios', 0, 1, 2, '--cfg-options', *options)
    run_tool('head_sensitivity', *arguments)
    rows = json.loads(out.read_text())
    places = ['everywhere', 'foreground', 'background']
    assert [(row['head'], row['error']) for row in rows] == [
        (head, place) for head in ('logits', 'control_points') for place in places
    ]
    assert all(row['0'] == 0 for row in rows)
    assert max(row['2'] for row in rows) > 1
    assert cv2.imread(str(picture)) is not None
    assert 'control_points' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='is no PNG file: name it with .png'):
        run_tool('head_sensitivity', *arguments[:2], '--picture', 'a.jpg')
