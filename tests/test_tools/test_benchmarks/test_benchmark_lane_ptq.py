import json
import subprocess

import pytest
from helpers import ROOT, load_tool, write_result

NAME = 'scnn_r18_mse_int8_demo-lane'


@pytest.fixture
def tool():
    return load_tool('benchmark_lane_ptq')


@pytest.fixture
def leaf(tmp_path):
    (tmp_path / 'float.pth').write_bytes(b'weights')
    path = tmp_path / 'mse' / f'{NAME}.py'
    path.parent.mkdir()
    path.write_text(
        f"load_from = '{tmp_path}/float.pth'\n"
        "val_dataloader = dict(dataset=dict(data_root='nowhere'))\n"
    )
    return path


def fake_ptq(calls, f1, code=0):
    """Stands for tools/ptq.py."""

    def run(command, **_):
        calls.append(command)
        if code == 0:
            work_dir = command[command.index('--work-dir') + 1]
            result = {'culane/F1': f1}
            values = dict(float={'culane/F1': 0.9}, seconds=1.0, num_samples=8)
            write_result(ROOT / work_dir, dict(values, quantized=result))
        return subprocess.CompletedProcess(command, code, '', 'Traceback\nerror: out of luck\n')

    return run


def test_cells_run_once_and_again_when_something_changed(tool, leaf, tmp_path, monkeypatch):
    calls, out = [], tmp_path / 'out.json'
    monkeypatch.setattr(subprocess, 'run', fake_ptq(calls, 0.875))
    first = tool.run_cells([str(leaf)], 8, str(out))
    assert json.loads(out.read_text()) == first
    assert first[NAME]['quantized'] == {'culane/F1': 0.875}
    assert 'calibration.num_samples=8' in calls[0]
    assert tool.run_cells([str(leaf)], 8, str(out)) == first and len(calls) == 1
    tool.run_cells([str(leaf)], 9, str(out))
    (tmp_path / 'float.pth').write_bytes(b'others')
    tool.run_cells([str(leaf)], 9, str(out))
    assert len(calls) == 3
    tool.run_cells([str(leaf)], 9, str(out), ['stages.1.num_iters=5'])
    assert len(calls) == 4 and calls[3][-1] == 'stages.1.num_iters=5'


def test_a_failed_cell_is_named_and_tried_again(tool, leaf, tmp_path, monkeypatch):
    out = str(tmp_path / 'out.json')
    monkeypatch.setattr(subprocess, 'run', fake_ptq([], 0.0, code=1))
    results = tool.run_cells([str(leaf)], 8, out)
    assert results[NAME]['error'] == 'error: out of luck'
    assert tool.table_rows(results)[0]['mse'] == 'failed'
    monkeypatch.setattr(subprocess, 'run', fake_ptq([], 0.5))
    assert 'error' not in tool.run_cells([str(leaf)], 8, out)[NAME]


def test_without_float_checkpoint_nothing_runs(tool, leaf, tmp_path, capsys):
    (tmp_path / 'float.pth').unlink()
    assert tool.run_cells([str(leaf)], 8, str(tmp_path / 'out.json')) == {}
    assert 'passed over' in capsys.readouterr().out


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
    assert tool.parts_of(f'configs/mse/{NAME}.py') == dict(
        model='scnn_r18', recipe='mse', scheme='int8'
    )
    assert tool.parts_of('configs/lidar_ptq/a_r18_lidar_ptq_w4a4_demo-lane.py') == dict(
        model='a_r18', recipe='lidar_ptq', scheme='w4a4'
    )
    with pytest.raises(SystemExit, match='is not named mse/MODEL_mse_SCHEME_demo-lane.py'):
        tool.parts_of('configs/mse/other.py')


def test_leaves_of_the_project_have_that_name(tool):
    for leaf in tool.find_leaves():
        assert tool.parts_of(leaf)
