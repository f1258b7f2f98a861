import argparse
import json
import subprocess

import pytest
from helpers import ROOT, load_tool, write_result

ARGUMENTS = ['--cfg-options', 'calibration.num_samples=8']


@pytest.fixture
def tool(tmp_path, monkeypatch):
    module = load_tool('benchmark_lane_ptq')
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints/net_demo-lane.pth').write_bytes(b'weights')
    text = "val_dataloader = dict(dataset=dict(data_root='nowhere'))\n"
    (tmp_path / 'net_demo-lane.py').write_text(text)
    monkeypatch.setattr(module, 'DEMO', tmp_path)
    return module


@pytest.fixture
def cell(tool):
    return tool.Cell('net', 'mse', 'int8')


def fake_ptq(calls, f1, code=0):
    """Stands for tools/ptq.py."""

    real = subprocess.run

    def run(command, **options):
        if command[0] == 'uname':  # the record of a run asks for the processor
            return real(command, **options)
        calls.append(command)
        if code == 0:
            work_dir = command[command.index('--work-dir') + 1]
            result = {'culane/F1': f1}
            values = dict(float={'culane/F1': 0.9}, seconds=1.0, num_samples=8)
            write_result(ROOT / work_dir, dict(values, quantized=result))
        return subprocess.CompletedProcess(command, code, '', 'Traceback\nerror: out of luck\n')

    return run


def test_cells_run_once_and_again_when_something_changed(tool, cell, tmp_path, monkeypatch):
    calls, out = [], str(tmp_path / 'out.json')
    monkeypatch.setattr(subprocess, 'run', fake_ptq(calls, 0.875))
    first = tool.run_cells([cell], ARGUMENTS, out)
    assert json.loads((tmp_path / 'out.json').read_text()) == first
    assert list(first) == ['net_mse_int8_demo-lane']
    assert first[cell.name]['quantized'] == {'culane/F1': 0.875}
    assert calls[0][-2:] == ARGUMENTS
    assert calls[0][4:8] == ['--scheme', 'int8', '--recipe', 'mse']
    assert tool.run_cells([cell], ARGUMENTS, out) == first and len(calls) == 1
    tool.run_cells([cell], [*ARGUMENTS, 'stages.1.num_iters=5'], out)
    (tmp_path / 'checkpoints/net_demo-lane.pth').write_bytes(b'others')
    tool.run_cells([cell], [*ARGUMENTS, 'stages.1.num_iters=5'], out)
    assert len(calls) == 3


def test_a_failed_cell_is_named_and_tried_again(tool, cell, tmp_path, monkeypatch):
    out = str(tmp_path / 'out.json')
    monkeypatch.setattr(subprocess, 'run', fake_ptq([], 0.0, code=1))
    results = tool.run_cells([cell], ARGUMENTS, out)
    assert results[cell.name]['error'] == 'error: out of luck'
    assert tool.table_rows(results)[0]['mse'] == 'failed'
    monkeypatch.setattr(subprocess, 'run', fake_ptq([], 0.5))
    assert 'error' not in tool.run_cells([cell], ARGUMENTS, out)[cell.name]


def test_without_float_checkpoint_nothing_runs(tool, cell, tmp_path):
    (tmp_path / 'checkpoints/net_demo-lane.pth').unlink()
    with pytest.raises(FileNotFoundError, match='net_demo-lane.pth'):
        tool.run_cells([cell], ARGUMENTS, str(tmp_path / 'out.json'))


def test_table(tool):
    def cell(model, recipe, scheme, f1):
        names = dict(model=model, recipe=recipe, scheme=scheme)
        return dict(names, float={'culane/F1': 0.9}, quantized={'culane/F1': f1})

    cells = [cell('a', 'mse', 'int8', 0.89), cell('a', 'minmax', 'int8', 0.9)]
    cells.append(cell('a_r18', 'mse', 'w4a4', 0.5))
    rows = tool.table_rows({str(index): value for index, value in enumerate(cells)})
    assert rows == [
        dict(
            model='a', scheme='int8', float=0.9, minmax='0.9000 (+0.0000)', mse='0.8900 (-0.0100)'
        ),
        dict(model='a_r18', scheme='w4a4', float=0.9, minmax=None, mse='0.5000 (-0.4000)'),
    ]


def test_seeds_are_cells_of_their_own_and_one_column(tool, tmp_path, monkeypatch):
    calls, out = [], str(tmp_path / 'out.json')
    monkeypatch.setattr(subprocess, 'run', fake_ptq(calls, 0.8))
    tool.run_cells([tool.Cell('net', 'mse', 'int8')], ARGUMENTS, out)
    monkeypatch.setattr(subprocess, 'run', fake_ptq(calls, 0.84))
    results = tool.run_cells([tool.Cell('net', 'mse', 'int8', 2)], ARGUMENTS, out)
    assert list(results) == ['net_mse_int8_demo-lane', 'net_mse_int8_demo-lane_seed2']
    assert calls[1][-1] == 'randomness.seed=2' and calls[0][-1] == ARGUMENTS[-1]
    (row,) = tool.table_rows(results)
    assert row['mse'] == '0.8200 ± 0.0200 (-0.0800, 1 s)'


def test_arguments_and_files_of_the_demo_models():
    tool = load_tool('benchmark_lane_ptq')
    args = argparse.Namespace(num_samples=8, bits=['lane_head.*=8'], cfg_options=['a=1'])
    expected = ['--bits', 'lane_head.*=8', '--cfg-options', 'calibration.num_samples=8', 'a=1']
    assert tool.arguments_of(args) == expected
    assert tool.MODELS == [
        'bezierlanenet_r18',
        'clrnet_r18',
        'condlanenet_r18',
        'enet_sad',
        'ganet_r18',
        'laneatt_r18',
        'scnn_r18',
    ]
    assert all((ROOT / file).is_file() for m in tool.MODELS for file in tool.Cell(m, '', '').files)
