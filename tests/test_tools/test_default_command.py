"""A float config, a checkpoint and nothing else."""

import json

import pytest
import torch
from fresh_process import run_fresh
from helpers import ROOT, make_ordinary
from torch import nn

import mmptq
from mmptq.report import read_record


@pytest.mark.slow
@pytest.mark.parametrize('validation', [True, False])
def test_end_to_end(tiny, validation):
    path, checkpoint = tiny
    nothing = {} if validation else dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg'))
    make_ordinary(path, **nothing)
    finished = run_fresh(ROOT / 'tools/ptq.py', path, checkpoint, '--backend', 'openvino')
    assert finished.returncode == 0, finished.stderr[-2000:]
    work = path.parent / 'work'
    assert 'diagnosis and remedies' in finished.stdout + finished.stderr
    found = read_record(work, 'auto')
    assert found['after'] <= found['before'] and (work / 'quantized.pth').is_file()
    assert {row['layer'] for row in read_record(work, 'diagnosis')} >= {'backbone.conv1'}
    assert bool(read_record(work, 'result')['quantized']) == validation
    weights = {row['weight'] for row in json.loads((work / 'coverage.json').read_text())}
    assert 'int8 sym narrow per-channel' in weights


def test_without_a_config(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 8, 1)).eval()
    images = [torch.randn(1, 3, 12, 12) for _ in range(2)]
    with torch.no_grad():
        expected = model(images[0])
        found = mmptq.quantize(model, images, work_dir=tmp_path)(images[0])
    assert read_record(tmp_path, 'auto')['after'] < 0.002
    assert (found - expected).square().mean() < 0.002 * expected.var()
