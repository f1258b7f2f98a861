"""tools/ptq.py on a tiny detector: what it writes, and what it says of bad input."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from fresh_process import run_fresh
from helpers import ROOT, run_tool
from mmengine.config import Config

from mmptq.engine.checkpoint import read_checkpoint
from mmptq.ptq import PTQContext
from mmptq.report import read_record


def error_of(capsys, *args) -> str:
    with pytest.raises(SystemExit) as stop:
        run_tool('ptq', *args)
    message = str(stop.value.code)
    assert message.startswith('error: ')
    assert '\n' not in message
    return message


def written(path):
    work = path.parent / 'work'
    return (
        {p.name for p in work.glob('*') if p.suffix in ('.pth', '.tmp')} if work.exists() else set()
    )


def test_writes_checkpoint_coverage_and_result(tiny_quantized):
    work = tiny_quantized / 'work'
    result = read_record(work, 'result')
    assert (
        result['float'].keys()
        == result['quantized'].keys()
        == {f'coco/bbox_mAP{suffix}' for suffix in ('', '_50', '_75', '_s', '_m', '_l')}
    )
    assert result['num_samples'] == 4
    assert 3.5 < result['float_bytes'] / result['quantized_bytes'] < 4
    rows = json.loads((work / 'coverage.json').read_text())
    assert [row['layer'] for row in rows][:2] == ['backbone.conv1', 'backbone.layer1.0.conv1']
    assert all(row['weight'] == 'int8 sym narrow per-channel' for row in rows)
    assert rows[0]['note'] == '+ backbone.bn1'
    assert written(tiny_quantized / 'tiny.py') == {'quantized.pth'}
    checkpoint = read_checkpoint(work / 'quantized.pth')
    assert checkpoint['meta']['quantizer']['folded'][0] == ['backbone.conv1', 'backbone.bn1']
    assert checkpoint['meta']['dataset_meta']['classes'][0] == 'button'


def test_two_runs_give_identical_checkpoints(tiny, tiny_quantized):
    path, _ = tiny
    run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    folders = (path.parent, tiny_quantized)
    states = [read_checkpoint(f / 'work/quantized.pth')['state_dict'] for f in folders]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize('tool', ['own', 'mmdet'])
def test_stock_test_tool_gives_the_same_metrics_in_a_fresh_process(tiny_quantized, tmp_path, tool):
    import mmdet

    expected = read_record(tiny_quantized / 'work', 'result')['quantized']
    script = ROOT / 'tools/test.py'
    if tool == 'mmdet':
        script = f'{mmdet.__path__[0]}/.mim/tools/test.py'
    files = (tiny_quantized / 'tiny.py', tiny_quantized / 'work/quantized.pth')
    done = run_fresh(script, *files, '--work-dir', tmp_path / 'test')
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = (tmp_path / 'test').glob('*/*.json')
    metrics = json.loads(log.read_text().splitlines()[-1])
    assert {key: metrics[key] for key in expected} == expected


def test_any_float_config_with_a_scheme_and_a_recipe(tiny):
    path, checkpoint = tiny
    cfg = Config.fromfile(path)
    for key in ('quantizer', 'stages', 'custom_hooks', 'custom_imports', 'load_from'):
        cfg.pop(key)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.dump(path)
    run_tool('ptq', path, checkpoint, '--scheme', 'w4a8', '--recipe', 'percentile')
    rows = json.loads((path.parent / 'work/coverage.json').read_text())
    notes = {row['layer']: (row['weight'].split()[0], row['note']) for row in rows}
    assert notes['backbone.layer1.0.conv1'][0] == 'uint4'
    assert notes['backbone.conv1'][0] == notes['bbox_head.retina_cls'][0] == 'uint8'
    assert notes['bbox_head.retina_cls'][1] == 'head output: 8 bit'
    # The config that the runner keeps is one that the stock tools can test with.
    kept = Config.fromfile(path.parent / 'work/tiny.py')
    assert kept.custom_hooks == [dict(type='QuantizationHook')]
    assert 'mmptq' in kept.custom_imports.imports


QDROP = ['--scheme', 'int8', '--recipe', 'qdrop', '--cfg-options']


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
def test_bad_arguments(tiny, capsys, monkeypatch, options, message):
    """All of it is said before the float model is evaluated."""
    monkeypatch.setattr(PTQContext, 'evaluate', lambda *_: pytest.fail('evaluated'))
    path, _ = tiny
    error = error_of(capsys, path, *options)
    assert re.search(message, error), error
    assert written(path) == set()


def test_rules_and_optimizer_of_the_command_line(tiny):
    """An optimizer wrapper that asserts a GPU is never built; later rules win."""
    path, _ = tiny
    options = ['optim_wrapper.type=AmpOptimWrapper', 'train_cfg.val_float=False']
    rules = ['--float', 'neck.*', '--bits', 'neck.fpn_convs.0.conv=w4a8', 'bbox_head.*=4']
    run_tool('ptq', path, *rules, '--cfg-options', *options)
    rows = json.loads((path.parent / 'work/coverage.json').read_text())
    bits = {row['layer']: (row['weight'].split()[0], row['input'].split()[0]) for row in rows}
    assert bits['neck.lateral_convs.0.conv'] == ('float', 'float')
    assert bits['neck.fpn_convs.0.conv'] == ('int4', 'uint8')
    assert bits['bbox_head.retina_cls'] == ('int4', 'uint4')
    assert bits['backbone.conv1'] == ('int8', 'uint8')
    kept = Config.fromfile(path.parent / 'work/tiny.py')
    assert [rule.reason for rule in kept.quantizer.rules] == ['--float', '--bits w4a8', '--bits 4']


def test_rule_that_matches_nothing(tiny, capsys):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.quantizer.rules = [dict(name='bbox_head.retina_clf', act=None)]
    cfg.dump(path)
    assert "the closest is 'bbox_head.retina_cls'" in error_of(capsys, path)


def test_missing_config(capsys, tmp_path):
    assert "no.py' does not exist" in error_of(capsys, tmp_path / 'no.py')


def test_bad_checkpoints(tiny, capsys, tmp_path):
    path, checkpoint = tiny
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    assert 'cut.pth' in error_of(capsys, path, cut)

    class Payload:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "executed"}',)

    evil = tmp_path / 'evil.pth'
    torch.save({'state_dict': Payload()}, evil)
    assert 'evil.pth' in error_of(capsys, path, evil)
    assert not (tmp_path / 'executed').exists()

    run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    quantized = path.parent / 'work/quantized.pth'
    assert 'quantized already' in error_of(capsys, path, quantized)


def test_overlap_of_calibration_and_evaluation(tiny, capsys):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.train_dataloader.dataset.ann_file = cfg.val_dataloader.dataset.ann_file
    cfg.train_dataloader.dataset.data_prefix = cfg.val_dataloader.dataset.data_prefix
    cfg.calibration = dict(num_samples=2)
    cfg.dump(path)
    error = error_of(capsys, path)
    assert '2 calibration samples are evaluation samples too' in error
    assert error.endswith('--cfg-options calibration.overlap=warn')
    run_tool('ptq', path, '--cfg-options', 'calibration.overlap=warn')
    assert written(path) == {'quantized.pth'}


def test_folder_of_images_without_any_other_data(tiny, tiny_data, tmp_path):
    """No train data, the files of the validation data absent: labels are not needed."""
    path, _ = tiny
    frames = shutil.copytree(tiny_data / 'train', tmp_path / 'own')
    options = ['train_dataloader=None', 'val_dataloader.dataset.data_root=nowhere/']
    run_tool('ptq', path, '--calibration-data', frames, '--cfg-options', *options)
    work = path.parent / 'work'
    result = read_record(work, 'result')
    assert (result['num_samples'], result['float'], result['quantized']) == (4, {}, {})
    checkpoint = read_checkpoint(work / 'quantized.pth')
    assert checkpoint['meta']['dataset_meta']['classes'][0] == 'button'
    kept = Config.fromfile(work / 'tiny.py')
    assert kept.calibration.data == str(frames)
    # The same images, listed by a label file, give the same network.
    options = ['calibration.num_samples=6', 'val_evaluator=None']
    run_tool('ptq', path, '--work-dir', tmp_path / 'a', '--cfg-options', *options)
    data = ['--calibration-data', frames]
    run_tool('ptq', path, *data, '--work-dir', tmp_path / 'b', '--cfg-options', *options)
    first, second = (read_checkpoint(tmp_path / x / 'quantized.pth')['state_dict'] for x in 'ab')
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_folder_of_evaluation_images_is_refused(tiny, capsys, tiny_data):
    path, _ = tiny
    options = ['--calibration-data', tiny_data / 'val', '--cfg-options']
    error = error_of(capsys, path, *options, 'calibration.num_samples=3')
    assert '3 calibration samples are evaluation samples too' in error


def test_without_validation_data(tiny):
    path, _ = tiny
    run_tool('ptq', path, '--cfg-options', 'val_dataloader=None', 'test_evaluator=None')
    assert read_record(path.parent / 'work', 'result')['quantized'] == {}
    assert written(path) == {'quantized.pth'}


def test_unreadable_sample_is_named(tiny, capsys, tiny_data, tmp_path):
    path, _ = tiny
    broken = tmp_path / 'broken'
    shutil.copytree(tiny_data, broken)
    for image in (broken / 'train').glob('*.jpg'):
        image.write_bytes(image.read_bytes()[:20])
    error = error_of(capsys, path, '--cfg-options', f'train_dataloader.dataset.data_root={broken}')
    assert 'cannot be read' in error
    assert '.jpg' in error


@pytest.mark.parametrize(
    ('value', 'message'), [(np.nan, 'contains NaN or Inf'), (np.inf, 'contains NaN or Inf')]
)
def test_non_finite_sample_is_named(tiny, capsys, monkeypatch, value, message):
    from mmdet.models import DetDataPreprocessor

    forward = DetDataPreprocessor.forward

    def poisoned(self, data, training=False):
        data = forward(self, data, training)
        data['inputs'][0, 0, 0, 0] = value
        return data

    path, _ = tiny
    monkeypatch.setattr(DetDataPreprocessor, 'forward', poisoned)
    error = error_of(capsys, path, '--cfg-options', 'train_cfg.val_float=False')
    assert message in error
    assert '.jpg' in error


def test_layer_that_never_runs(tiny, monkeypatch):
    from mmdet.models import RetinaNet

    init = RetinaNet.__init__

    def with_unused_layer(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.unused = torch.nn.Conv2d(3, 32, 1)

    path, checkpoint = tiny
    content = torch.load(checkpoint, weights_only=True)
    layer = torch.nn.Conv2d(3, 32, 1)
    content['state_dict'].update({f'unused.{k}': v for k, v in layer.state_dict().items()})
    torch.save(content, checkpoint)
    monkeypatch.setattr(RetinaNet, '__init__', with_unused_layer)
    options = ('--cfg-options', 'train_cfg.val_float=False')
    for arguments, note in (((), 'never executed in predict mode'), (('unus*',), '--float')):
        flag = ('--float', *arguments) if arguments else ()
        run_tool('ptq', path, *options, *flag)
        rows = json.loads((path.parent / 'work/coverage.json').read_text())
        (row,) = [row for row in rows if row['layer'] == 'unused']
        assert (row['weight'], row['input'], row['note']) == ('float', 'float', note)


def test_full_disk_leaves_nothing(tiny, capsys, monkeypatch):
    def full(content, file):
        file.write_bytes(b'half')
        raise RuntimeError('[enforce fail at inline_container.cc] No space left on device')

    path, _ = tiny
    import mmptq.engine.checkpoint as module

    monkeypatch.setattr(module.torch, 'save', full)
    error = error_of(capsys, path, '--cfg-options', 'train_cfg.val_float=False')
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
