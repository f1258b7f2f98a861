"""tools/ptq.py on a tiny detector: what it writes."""

import json
import shutil

import pytest
import torch
from fresh_process import run_fresh
from helpers import ROOT, run_tool
from mmengine.config import Config

from mmptq.engine.checkpoint import read_checkpoint
from mmptq.report import read_record


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
    assert [p.name for p in work.glob('*') if p.suffix in ('.pth', '.tmp')] == ['quantized.pth']
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


def test_without_validation_data(tiny):
    path, _ = tiny
    run_tool('ptq', path, '--cfg-options', 'val_dataloader=None', 'test_evaluator=None')
    assert read_record(path.parent / 'work', 'result')['quantized'] == {}
    assert (path.parent / 'work/quantized.pth').exists()


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
