"""tools/ptq.py on a tiny detector: what it says of bad input, and that it leaves nothing behind."""

import os
import re
import shutil

import numpy as np
import pytest
import torch
from helpers import error_of, run_tool
from mmengine.config import Config

from mmptq.ptq import PTQContext

QDROP = ['--scheme', 'int8', '--recipe', 'qdrop', '--cfg-options']


def written(path):
    work = path.parent / 'work'
    return (
        {p.name for p in work.glob('*') if p.suffix in ('.pth', '.tmp')} if work.exists() else set()
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--recipe', 'magic'], "there is no recipe 'magic': use one of .*minmax"),
        (['--scheme', 'int9'], "there is no scheme 'int9': use one of int8"),
        (['--cfg-options', 'stages.0.act_observer.type=Magic'], "no observer 'Magic': use one of"),
        (['--cfg-options', 'stages.0.type=Magic'], "no stage 'Magic'"),
        (['--cfg-options', 'calibration.num_samples=7'], 'more than the 6 samples .* at most 6'),
        (['--cfg-options', 'calibration.num_samples=0'], 'must be at least 1'),
        (['--cfg-options', 'calibration.samples=5'], "unknown key 'samples'"),
        (['--cfg-options', 'quantizer.act.bits=9'], 'use 2 to 8, or 16'),
        (['--cfg-options', 'calibration.num_samples=few'], "'few' must be a whole number"),
        (['--cfg-options', 'train_dataloader=None'], 'no .train_dataloader.*--calibration-data'),
        (
            ['--cfg-options', 'train_dataloader.dataset.ann_file=no.json'],
            "train data cannot be read, annotation file '.*no.json' does not .*--calibration-data",
        ),
        (
            ['--cfg-options', 'val_evaluator.ann_file=no.json'],
            "'no.json' of the metric does not exist: .*--cfg-options val_evaluator=None",
        ),
        (['--calibration-data', 'nowhere'], "calibration folder 'nowhere' does not exist"),
        (['--cfg-options', 'load_from=None'], 'no float checkpoint'),
        (['--cfg-options', 'load_from=nowhere.pth'], "'nowhere.pth' does not exist"),
        (['--cfg-options', 'train_cfg.type=EpochBasedTrainLoop'], 'is no loop that quantizes'),
        (['--cfg-options', 'stages=[]'], "the config has no 'stages'"),
        (['--cfg-options', 'model.backbone.depth=34'], 'its architecture differs'),
        (['--cfg-options', "quantizer.rules=[{'name':'x'}]"], 'use --float NAME or --bits NAME=8'),
        (['--cfg-options', 'stages.7.num_iters=1'], '--cfg-options do not fit the config'),
        (['--cfg-options', 'ptq.rule=1'], "ptq has an unknown key 'rule': use rules, units"),
        (['--cfg-options', 'quantizer.weight=8'], r'quantizer.weight=8 .* write dict\(bits=8\)'),
        (['--cfg-options', 'model.backbone.foo=1'], "unexpected keyword argument 'foo'"),
        (['--cfg-options', 'val_evaluator.type=Magic'], "names 'Magic', .*registry mmdet::metric"),
        (
            [*QDROP, 'stages.1.units=[nock]'],
            "units 'nock' matches no module with quantized layers: the closest is 'neck'",
        ),
        ([*QDROP, 'ptq.units=[nock]'], "units 'nock' matches no module"),
        ([*QDROP, 'stages.1.skip=[nock]'], "skip 'nock' matches no unit: the closest is 'neck'"),
        ([*QDROP, 'stages.1.num_iters=many'], "stage 'Reconstructor' does not take these"),
        (
            [
                '--scheme',
                'int8',
                '--recipe',
                'detptq',
                '--cfg-options',
                'stages.1.selection=no.json',
            ],
            "selection 'no.json' does not exist",
        ),
        (['--float', 'neck'], "'neck' matches no layer: the closest is"),
        (['--bits', 'neck.*'], r"--bits 'neck.\*': use NAME=8, or NAME=w4a8"),
    ],
)
def test_bad_arguments(tiny, monkeypatch, options, message):
    """All of it is said before the float model is evaluated."""
    monkeypatch.setattr(PTQContext, 'evaluate', lambda *_: pytest.fail('evaluated'))
    path, _ = tiny
    error = error_of('ptq', path, *options)
    assert re.search(message, error), error
    assert written(path) == set()


def test_rule_that_matches_nothing(tiny):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.quantizer.rules = [dict(name='bbox_head.retina_clf', act=None)]
    cfg.dump(path)
    assert "the closest is 'bbox_head.retina_cls'" in error_of('ptq', path)


def test_missing_config(tmp_path):
    assert "no.py' does not exist" in error_of('ptq', tmp_path / 'no.py')


def test_bad_checkpoints(tiny, tmp_path):
    path, checkpoint = tiny
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    assert 'cut.pth' in error_of('ptq', path, cut)

    class Payload:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "executed"}',)

    evil = tmp_path / 'evil.pth'
    torch.save({'state_dict': Payload()}, evil)
    assert 'evil.pth' in error_of('ptq', path, evil)
    assert not (tmp_path / 'executed').exists()

    run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    quantized = path.parent / 'work/quantized.pth'
    assert 'quantized already' in error_of('ptq', path, quantized)


def test_overlap_of_calibration_and_evaluation(tiny):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.train_dataloader.dataset.ann_file = cfg.val_dataloader.dataset.ann_file
    cfg.train_dataloader.dataset.data_prefix = cfg.val_dataloader.dataset.data_prefix
    cfg.calibration = dict(num_samples=2)
    cfg.dump(path)
    error = error_of('ptq', path)
    assert '2 calibration samples are evaluation samples too' in error
    assert error.endswith('--cfg-options calibration.overlap=warn')
    run_tool('ptq', path, '--cfg-options', 'calibration.overlap=warn')
    assert written(path) == {'quantized.pth'}


def test_folder_of_evaluation_images_is_refused(tiny, tiny_data):
    path, _ = tiny
    options = ['--calibration-data', tiny_data / 'val', '--cfg-options']
    error = error_of('ptq', path, *options, 'calibration.num_samples=3')
    assert '3 calibration samples are evaluation samples too' in error


def test_unreadable_sample_is_named(tiny, tiny_data, tmp_path):
    path, _ = tiny
    broken = tmp_path / 'broken'
    shutil.copytree(tiny_data, broken)
    for image in (broken / 'train').glob('*.jpg'):
        image.write_bytes(image.read_bytes()[:20])
    error = error_of('ptq', path, '--cfg-options', f'train_dataloader.dataset.data_root={broken}')
    assert 'cannot be read' in error
    assert '.jpg' in error


@pytest.mark.parametrize(
    ('value', 'message'), [(np.nan, 'contains NaN or Inf'), (np.inf, 'contains NaN or Inf')]
)
def test_non_finite_sample_is_named(tiny, monkeypatch, value, message):
    from mmdet.models import DetDataPreprocessor

    forward = DetDataPreprocessor.forward

    def poisoned(self, data, training=False):
        data = forward(self, data, training)
        data['inputs'][0, 0, 0, 0] = value
        return data

    path, _ = tiny
    monkeypatch.setattr(DetDataPreprocessor, 'forward', poisoned)
    error = error_of('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    assert message in error
    assert '.jpg' in error


def test_full_disk_leaves_nothing(tiny, monkeypatch):
    def full(content, file):
        file.write_bytes(b'half')
        raise RuntimeError('[enforce fail at inline_container.cc] No space left on device')

    path, _ = tiny
    import mmptq.engine.checkpoint as module

    monkeypatch.setattr(module.torch, 'save', full)
    error = error_of('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    assert 'quantized.pth' in error
    assert 'No space left' in error
    assert '--work-dir' in error
    assert written(path) == set()


def test_interrupted_run_leaves_nothing(tiny, monkeypatch):
    from mmptq.ptq import Calibrator

    def interrupt(self, ctx):
        raise KeyboardInterrupt

    path, _ = tiny
    monkeypatch.setattr(Calibrator, 'run', interrupt)
    with pytest.raises(SystemExit, match='interrupted'):
        run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    assert written(path) == set()
