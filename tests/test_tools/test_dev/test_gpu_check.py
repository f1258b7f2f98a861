"""tools/dev/gpu_check.py on a CPU, and its steps on the pretended GPU."""

import sys

import pytest
import torch
from helpers import ROOT, load_tool, run_tool
from simulated_cuda import simulated_cuda


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'dev')
    yield load_tool('gpu_check')
    sys.modules.pop('gpu_check_models', None)


def steps_of(monkeypatch, tool, **steps):
    def given(self):
        yield from steps.items()

    monkeypatch.setattr(tool.Steps, 'all', given)


def test_what_a_step_says(tool, monkeypatch):
    def skipped():
        raise tool.Skipped('there is no spconv')

    def failed():
        raise ValueError('wrong numbers')

    steps_of(monkeypatch, tool, right=lambda: 'equal', skipped=skipped, failed=failed)
    rows = tool.check('cpu', True, 1.0)
    assert [row['result'] for row in rows] == [
        'ok: equal',
        'not run: there is no spconv',
        'failed: ValueError: wrong numbers',
    ]


def test_nothing_starts_when_the_time_is_over(tool, monkeypatch):
    steps_of(monkeypatch, tool, late=lambda: 'equal')
    (row,) = tool.check('cpu', True, 0.0)
    assert row['result'] == 'not run: the time is over (--minutes)'


def test_a_failure_is_the_exit_code(tool, monkeypatch, capsys):
    def failed():
        raise ValueError('wrong numbers')

    steps_of(monkeypatch, tool, good=lambda: 'equal', bad=failed)
    monkeypatch.setattr(sys, 'argv', ['gpu_check.py', '--device', 'cpu'])
    with pytest.raises(SystemExit, match='error: 1 steps failed: bad'):
        tool.main()
    assert '| good' in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'dev')
    with pytest.raises(SystemExit, match='no GPU here: use --device cpu --quick'):
        run_tool('gpu_check')


def run_steps(tool, folder, wanted):
    with simulated_cuda():
        for name, step in tool.Steps('cuda', True, folder).all():
            if wanted(name):
                torch.manual_seed(0)
                assert step(), name


def test_steps_on_the_pretended_gpu(tool, tmp_path):
    names = 'plain network, qdrop', 'resume', 'checkpoint on the CPU', 'RetinaNet, export'
    run_steps(tool, tmp_path, names.__contains__)


@pytest.mark.slow
@pytest.mark.parametrize('part', range(4))  # so that several processes share the work
def test_2d_steps_on_the_pretended_gpu(tool, tmp_path, part):
    long = ('detptq', 'pd_quant', 'distill', 'export')  # the quick test has the export
    names = [name for name, _ in tool.Steps('cuda', True, tmp_path).all()]
    names = [n for n in names if n.startswith('RetinaNet') and not any(x in n for x in long)]
    run_steps(tool, tmp_path, names[part::4].__contains__)


@pytest.mark.slow
def test_all_steps_on_a_cpu(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'dev')
    run_tool('gpu_check', '--device', 'cpu', '--quick', '--minutes', '30')
    table = capsys.readouterr().out
    assert 'failed' not in table and '| RetinaNet, detptq' in table
