"""tools/ptq.py with a budget and with a target, on a tiny detector."""

import json

import pytest
from helpers import run_tool

from mmptq.engine.checkpoint import plan_of, read_checkpoint
from mmptq.report import read_record

pytestmark = pytest.mark.slow


def test_a_mean_of_bits(tiny, tmp_path):
    path, _ = tiny
    options = ('--average-bits', '5', '--cfg-options', 'train_cfg.val_float=False')
    run_tool('ptq', path, '--work-dir', tmp_path / 'a', *options)
    work = tmp_path / 'a'
    budget, rows = (read_record(work, kind) for kind in ('bit_budget', 'bit_allocation'))
    mean = sum(row['weights'] * int(row['bits'].split()[0]) for row in rows)
    mean /= sum(row['weights'] for row in rows)
    assert 4.9 < mean <= 5 and float(budget['used']['average_bits']) == pytest.approx(
        mean, abs=0.01
    )
    notes = [row['note'] for row in json.loads((work / 'coverage.json').read_text())]
    assert all('average bits 5: ' in note for note in notes if 'stays float' not in note)
    plan = plan_of(read_checkpoint(work / 'quantized.pth'))
    assert {layer.name: f'{layer.weight.bits} bits' for layer in plan.layers} == {
        row['layer']: row['bits'] for row in rows
    }
    scores = json.loads((work / 'layer_scores.json').read_text())
    assert scores['losses'].keys() == {row['layer'] for row in rows}
    assert all(loss >= 0 for losses in scores['losses'].values() for loss in losses.values())


def test_a_target(tiny, tmp_path):
    path, _ = tiny
    run_tool('ptq', path, '--max-drop', '0.9', '--work-dir', tmp_path / 'b')
    control = read_record(tmp_path / 'b', 'accuracy_control')
    assert control['metric'] == 'coco/bbox_mAP' and len(control['trials']) == 1
    result = read_record(tmp_path / 'b', 'result')
    assert result['quantized']['coco/bbox_mAP'] == control['trials'][0]['value']
    assert result['float']['coco/bbox_mAP'] == control['float']
