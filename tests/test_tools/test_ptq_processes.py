"""tools/ptq.py under torchrun: two processes on CPUs, over gloo."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import ROOT, run_tool
from mmengine.config import Config

from mmptq.engine.checkpoint import plan_of, read_checkpoint
from mmptq.ptq.inputs.calibration_settings import choose_samples
from mmptq.report import read_record

pytestmark = pytest.mark.slow

LP = dict(type='LpObserver')
MSE = dict(type='Calibrator', weight_observer=LP, act_observer=LP)
RECIPES = dict(minmax=[dict(type='Calibrator')], mse=[MSE])
SECONDS = 120  # that a test waits for anything


def write_config(path: Path, stages: list, **options) -> Path:
    cfg = Config.fromfile(path)
    cfg.stages = stages
    cfg.train_cfg.val_float = False
    cfg.merge_from_dict(options)
    cfg.dump(path)
    return path


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def start(tool: str, *arguments) -> subprocess.Popen:
    """Two processes of a tool."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command += [ROOT / f'tools/{tool}.py', *arguments, '--launcher', 'pytorch']
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    return subprocess.Popen(
        list(map(str, command)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process: subprocess.Popen, seconds: float = SECONDS) -> str:
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == 0, output[-3000:]
    return output


def errors(process: subprocess.Popen) -> list[str]:
    """The sentences of all processes that failed."""
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode != 0
    assert 'mmptq.utils.errors' not in output  # no traceback of ours
    return sorted(re.findall(r'^error: (.*)$', output, re.M))


def pid_of_rank(launcher: subprocess.Popen, rank: int) -> int:
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            parent = int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
            variables = (folder / 'environ').read_bytes().split(b'\0')
        except OSError:
            continue
        if parent == launcher.pid and f'RANK={rank}'.encode() in variables:
            return int(folder.name)
    raise AssertionError(f'no process of rank {rank}')


@pytest.mark.parametrize('recipe', ['mse', 'minmax'])
def test_two_processes_write_the_checkpoint_of_one(tiny, tmp_path, recipe):
    path = write_config(tiny[0], RECIPES[recipe])
    torch.set_num_threads(1)
    run_tool('ptq', path, '--work-dir', tmp_path / 'one')
    output_of(start('ptq', path, '--work-dir', tmp_path / 'two'))
    assert not Path('.dist_test').exists()  # mmengine's folder for results
    one, two = (read_checkpoint(tmp_path / name / 'quantized.pth') for name in ('one', 'two'))
    assert one['state_dict'].keys() == two['state_dict'].keys()
    assert all(torch.equal(x, two['state_dict'][key]) for key, x in one['state_dict'].items())
    texts = [saved['meta'].pop('cfg') for saved in (one, two)]
    texts[1] = texts[1].replace(str(tmp_path / 'two'), str(tmp_path / 'one'))
    # Only the text of the other processes has a layout, see conftest.py.
    first, second = (Config.fromstring(text, '.py').to_dict() for text in texts)
    assert first == second
    assert one['meta'] == two['meta']
    results = [read_record(tmp_path / name, 'result') for name in ('one', 'two')]
    assert results[0]['quantized'] == results[1]['quantized']
    run = json.loads((tmp_path / 'two/run.json').read_text())
    assert run['environment']['processes'] == 2
    assert not list((tmp_path / 'two').glob('results_*'))
    assert {p.name for p in (tmp_path / 'two').iterdir() if p.is_file()} == {
        'coverage.json',
        'quantized.pth',
        'report.html',
        'run.json',
        'samples.npz',
        path.name,
    }


@pytest.mark.parametrize(
    ('options', 'kinds'),
    [
        ((), ['auto']),
        (('--average-bits', '5'), ['bit_allocation', 'bit_budget']),
        (('--max-drop', '0.001'), ['accuracy_control']),
    ],
)
def test_two_processes_decide_as_one(tiny, tmp_path, options, kinds):
    """Remedies, bits and layers that are reverted; all processes compare them after each stage."""
    cfg = Config.fromfile(tiny[0])
    for key in ('quantizer', 'stages'):
        cfg.pop(key)
    cfg.train_cfg = dict(type='PTQLoop', report=False)
    cfg.dump(tiny[0])
    torch.set_num_threads(1)
    run_tool('ptq', tiny[0], '--work-dir', tmp_path / 'one', *options)
    output_of(start('ptq', tiny[0], '--work-dir', tmp_path / 'two', *options), 5 * SECONDS)
    coverage = [(tmp_path / name / 'coverage.json').read_text() for name in ('one', 'two')]
    assert coverage[0] == coverage[1]
    plans = [plan_of(read_checkpoint(tmp_path / x / 'quantized.pth')) for x in ('one', 'two')]
    assert plans[0].to_dict() == plans[1].to_dict()
    for kind in kinds:
        one, two = (read_record(tmp_path / name, kind) for name in ('one', 'two'))
        assert one and decisions(one) == decisions(two)


def decisions(data):
    """Without numbers, which are sums in another order."""
    if isinstance(data, dict):
        return {key: decisions(value) for key, value in data.items() if key != 'seconds'}
    if isinstance(data, list):
        return list(map(decisions, data))
    return None if isinstance(data, float) else data


def test_two_processes_test_as_one(tiny, tmp_path):
    run_tool('ptq', tiny[0], '--work-dir', tmp_path / 'one')
    files = tiny[0], tmp_path / 'one/quantized.pth'
    output = output_of(start('test', *files, '--out', tmp_path / 'two.json'))
    run_tool('test', *files, '--out', tmp_path / 'one.json')
    assert (tmp_path / 'one.json').read_text() == (tmp_path / 'two.json').read_text()
    assert len(re.findall('^coco/bbox_mAP:', output, re.M)) == 1


def test_a_killed_process_stops_all_and_one_goes_on(tiny, tmp_path):
    learn = dict(type='Reconstructor', num_iters=40, batch_size=2, act_lr=1e-3, drop_prob=0.5)
    path = write_config(tiny[0], [dict(type='Calibrator'), learn])
    work = tmp_path / 'killed'
    process = start('ptq', path, '--work-dir', work)
    deadline = time.monotonic() + SECONDS
    while len(list(work.glob('resume/*.pth'))) < 2:
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(pid_of_rank(process, 1), signal.SIGKILL)
    killed = time.monotonic()
    (sentence,) = errors(process)
    assert time.monotonic() - killed < 40
    assert sentence.startswith('process 0 of 2 stops because another one did (')
    assert sentence.endswith('with --resume to go on where they were')
    kept = list(work.glob('resume/*.pth'))
    assert len(kept) >= 2 and not (work / 'quantized.pth').exists()
    run_tool('ptq', path, '--work-dir', work, '--resume')
    assert (work / 'quantized.pth').is_file() and not (work / 'resume').exists()
    units = [row['unit'] for row in read_record(work, 'reconstruction')]
    assert len(units) == 18


def test_a_failure_in_one_process_is_told_by_all(tiny, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / 'data')
    annotations = json.loads((data / 'annotations/instances_train.json').read_text())
    second = choose_samples(6, 4, 0)[1]
    name = annotations['images'][second]['file_name']
    (image,) = (path for path in data.rglob(name) if 'train' in str(path.relative_to(data)))
    image.write_bytes(b'no image')
    options = {'train_dataloader.dataset.data_root': str(data)}
    path = write_config(tiny[0], RECIPES['minmax'], **options)
    first, second = errors(start('ptq', path, '--work-dir', tmp_path / 'work'))
    assert first.startswith(f"calibration sample '{image}' cannot be read")
    assert second.startswith('process 0 of 2 stops because another one did (process 1: ')
    assert first in second
