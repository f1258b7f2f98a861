"""The benchmark of recipes: table, resumption, naive and fast search."""

import importlib.util
import json
import subprocess
import sys

import pytest
from helpers import ROOT, run_tool, write_result
from mmengine.config import Config


@pytest.fixture
def module(monkeypatch):
    spec = importlib.util.spec_from_file_location(
        'benchmark_reconstruction', ROOT / 'tools/benchmarks/benchmark_reconstruction.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(value: float, seconds: float = 1.0) -> dict:
    return dict(float={'coco/bbox_mAP': 0.5}, quantized={'coco/bbox_mAP': value}, seconds=seconds)


def test_rows_by_hand(module):
    rows = module.table_rows(dict(mse=[cell(0.3), cell(0.4)], detptq=[cell(0.45, 9.0)]))
    assert [row['recipe'] for row in rows] == ['float', 'mse', 'detptq']
    assert rows[0]['mAP'] == '0.5000'
    assert rows[1]['mAP'] == '0.3500 ± 0.0500' and rows[1]['difference'] == '-0.1500'
    assert rows[2]['seconds'] == '9' and rows[2]['seeds'] == '1'


def test_a_lane_model_is_judged_by_its_own_metric(module):
    results = dict(float={'culane/F1': 0.5}, quantized={'culane/F1': 0.4}, seconds=1)
    assert module.table_rows(dict(mse=[results]))[1]['F1'] == '0.4000 ± 0.0000'


def test_the_float_model_is_looked_for_in_all_cells(module):
    without = dict(cell(0.3), float={})
    rows = module.table_rows(dict(mse=[without], qdrop=[cell(0.4)]))
    assert rows[0]['mAP'] == '0.5000' and rows[1]['difference'] == '-0.2000'
    assert module.float_metrics(dict(mse=[without])) == {}


def test_finished_cells_are_not_run_again(module, tiny, tmp_path, monkeypatch):
    ran = []

    def run(command, **_):
        ran.append(command[command.index('--recipe') + 1])
        folder = command[command.index('--work-dir') + 1]
        write_result(tmp_path / folder, cell(0.4))
        return type('Finished', (), dict(returncode=0))

    monkeypatch.setattr(subprocess, 'run', run)
    argv = ['x', str(tiny[0]), '--recipes', 'minmax', 'mse', '--seeds', '2']
    monkeypatch.setattr(sys, 'argv', [*argv, '--val-images', '2', '--out', str(tmp_path / 'out')])
    module.main()
    assert ran == ['minmax', 'mse'] * 2
    module.main()
    assert len(ran) == 4
    assert '0.4000 ± 0.0000' in (tmp_path / 'out/table.md').read_text()
    subset = json.loads((tmp_path / 'out/val_2.json').read_text())
    assert len(subset['images']) == 2
    kept = {image['id'] for image in subset['images']}
    assert {item['image_id'] for item in subset['annotations']} <= kept


def test_options_of_a_cell(module, tmp_path, monkeypatch):
    argv = ['x', '--num-samples', '8', '--distill-samples', '64']
    monkeypatch.setattr(sys, 'argv', [*argv, '--num-iters', '200', '--distill-iters', '900'])
    args = module.parse_args()
    folder = tmp_path / 'net_w4a4_detptq_brecq_distill_seed0'
    options = module.cell_options(args, 'detptq_brecq_distill', 0, folder)
    assert 'calibration.num_samples=64' in options
    assert options[-2:] == ['stages.2.num_iters=200', 'stages.3.num_iters=900']
    done = tmp_path / 'net_w4a4_detptq_seed0/lp_selection.json'
    done.parent.mkdir()
    done.write_text('{}')
    assert (
        module.cell_options(args, 'detptq_brecq_distill', 0, folder)[-1]
        == f'stages.1.selection={done}'
    )
    brecq = module.cell_options(args, 'brecq', 0, tmp_path)
    assert brecq[0] == 'calibration.num_samples=8'
    assert brecq[2:] == ['stages.1.num_iters=200']  # the second stage takes 125 steps anyway


@pytest.mark.slow
def test_search_time_and_the_same_choice(module, tiny, tmp_path, monkeypatch):
    from mmptq.ptq.stages.lp_selector import LpSelector

    cfg = Config.fromfile(tiny[0])
    cfg.load_from = str(tiny[1])
    cfg.dump(tiny[0])

    def smaller(num_samples, fast):
        loss = dict(type='DetectionOutputLoss', score_thr=0.0)
        return LpSelector(loss, [2.0, 4.0], num_samples, num_candidates=4, fast=fast)

    monkeypatch.setattr(module, 'LpSelector', smaller)
    options = ['--search-time', '3', '--num-samples', '2', '--out', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', ['x', str(tiny[0]), *options])
    module.main()
    result = json.loads((tmp_path / 'out/search_time.json').read_text())
    assert result['same_p'] == result['tensors'] == 6
    assert len(result['layers']) == 3
    assert set(result['seconds']['naive']) == set(result['seconds']['fast']) == {*result['layers']}


def test_a_failing_run_is_shown(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit, match='there is no recipe'):
        run_tool(
            'benchmark_reconstruction', '--recipes', 'nothing', '--seeds', 1, '--out', tmp_path
        )
