"""A run killed at any moment and resumed ends with the checkpoint of an uninterrupted one."""

import re
import signal
import time

import pytest
import torch
from fresh_process import FreshProcess
from helpers import ROOT, error_of, run_tool
from mmengine.config import Config

from mmptq.engine.checkpoint import read_checkpoint

STAGES = [
    dict(type='Calibrator'),
    dict(type='Reconstructor', num_iters=4, batch_size=2, act_lr=1e-3, drop_prob=0.5),
]


@pytest.fixture
def config(tiny):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.stages = STAGES
    cfg.train_cfg.val_float = False
    cfg.dump(path)
    return path


def kill_after(process, folder, num_units):
    """SIGKILL in the middle of the unit after ``num_units`` finished ones."""
    deadline = time.monotonic() + 300
    while len(list(folder.glob('*.pth'))) < num_units:
        assert process.is_alive(), process.wait().stderr[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait().returncode == -signal.SIGKILL


def bits(path):
    checkpoint = read_checkpoint(path)
    return checkpoint['state_dict'], checkpoint['meta']


def test_killed_and_resumed_is_bit_for_bit_the_same(config, tmp_path):
    torch.set_num_threads(1)
    run_tool('ptq', config, '--work-dir', tmp_path / 'whole')
    work = tmp_path / 'killed'
    process = FreshProcess(ROOT / 'tools/ptq.py', config, '--work-dir', work)
    kill_after(process, work / 'resume', 5)
    assert not (work / 'quantized.pth').exists()
    (work / 'cache').mkdir(exist_ok=True)
    (work / 'cache/activations_1.bin').touch()  # as a kill leaves it where memory is short
    run_tool('ptq', config, '--work-dir', work, '--resume')
    expected, meta = bits(tmp_path / 'whole/quantized.pth')
    found, found_meta = bits(work / 'quantized.pth')
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert meta['quantizer'] == found_meta['quantizer']
    assert not (work / 'resume').exists()
    assert not (work / 'cache').exists()
    log = sorted(work.glob('*/*.log'))[-1].read_text()
    assert re.search(r'unit 18/18 .*loss', log)


def refusal(*arguments) -> str:
    return error_of('ptq', *arguments, '--resume')


def test_state_of_another_run_is_refused(config, tiny, tmp_path, monkeypatch):
    """Calibration samples go through the pipeline of the evaluation, so that this counts, too."""
    from mmptq.ptq.resume import ResumeStore

    work, save = tmp_path / 'work2', ResumeStore.save

    def stop(self, name, state):
        save(self, name, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumeStore, 'save', stop)
        assert '--resume goes on' in error_of('ptq', config, '--work-dir', work)

    where, options = ('--work-dir', work), ('--cfg-options', 'stages.1.num_iters=9')
    message = "a run with another 'stages' in its config: run without --resume"
    assert message in refusal(config, *where, *options)

    content = torch.load(tiny[1], weights_only=True)
    next(iter(content['state_dict'].values())).mul_(1.001)
    torch.save(content, tmp_path / 'other.pth')
    message = 'a run with another float checkpoint'
    assert message in refusal(config, tmp_path / 'other.pth', *where)

    message = 'a run with another seed: run without --resume'
    assert message in refusal(config, *where, '--cfg-options', 'randomness.seed=1')

    cfg = Config.fromfile(config)
    (resize,) = [step for step in cfg.val_dataloader.dataset.pipeline if step.type == 'Resize']
    resize.scale = (48, 32)
    other = config.with_name('other.py')
    cfg.dump(other)
    message = "a run with another 'val_dataloader' in its config: run without --resume"
    assert message in refusal(other, *where)


def test_resume_without_a_state_starts_at_the_beginning(config, tmp_path):
    work = tmp_path / 'new'
    run_tool('ptq', config, '--work-dir', work, '--resume')
    assert (work / 'quantized.pth').is_file()
    (log,) = work.glob('*/*.log')
    assert (
        'holds no state of an earlier run, so this one starts at the beginning' in log.read_text()
    )
