"""The benchmark of recipes on several networks: table, resumption, head policy."""

import sys

import pytest
from helpers import ROOT, load_tool, write_result

from mmptq.utils.cli import base_config


@pytest.fixture
def module():
    return load_tool('benchmark_recipes')


def cell(value: float, metric: str = 'coco/bbox_mAP', seconds: float = 2.0) -> dict:
    return dict(float={metric: 0.5}, quantized={metric: value}, seconds=seconds)


def test_rows_by_hand(module):
    results = dict(
        retinanet=dict(mse=[cell(0.3), cell(0.4)], inlierq=[cell(0.45, seconds=9.0)]),
        kitti=dict(mse=[cell(0.25, 'iou3d/mAP')]),
    )
    rows = module.table_rows(results)
    assert [(row['network'], row['recipe']) for row in rows] == [
        ('retinanet', 'mse'),
        ('retinanet', 'inlierq'),
        ('kitti', 'mse'),
        ('mean', 'mse'),  # inlierq did not run on all networks
    ]
    assert rows[0]['quantized'] == '0.3500 ± 0.0500' and rows[0]['seeds'] == '2'
    assert rows[1]['seconds'] == '9' and rows[1]['float'] == '0.5000'
    assert rows[3]['quantized'] == '0.3000'


def test_networks_and_schemes_exist(module):
    for network in module.NETWORKS.values():
        assert all((ROOT / path).is_file() for path in network.files if path)
        assert base_config('scheme', 'w4a4' + network.placement).quantizer
    for recipe in module.RECIPES:
        assert base_config('recipe', recipe).stages


def test_cells_run_once_and_heads_stay_float(module, tmp_path, monkeypatch):
    commands = []

    def run(*command):
        commands.append(command)
        write_result(command[command.index('--work-dir') + 1], cell(0.4))

    monkeypatch.setattr(sys.modules[module.run_cell.__module__], 'run_tool', run)
    argv = ['x', 'retinanet', 'faster_rcnn', '--recipes', 'mse', '--seeds', '2', '--head', 'float']
    monkeypatch.setattr(sys, 'argv', [*argv, '--out', str(tmp_path / 'out')])
    module.main()
    module.main()
    assert len(commands) == 4
    heads = commands[1][commands[1].index('--float') + 1 :]
    assert heads[:2] == ('rpn_head.*', 'roi_head.*')
    text = (tmp_path / 'out/head_float/table_w4a4.md').read_text()
    assert 'heads float' in text and '| mean' in text
    monkeypatch.setattr(sys, 'argv', ['x', 'nothing'])
    with pytest.raises(SystemExit):
        module.main()
