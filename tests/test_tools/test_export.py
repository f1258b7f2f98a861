"""tools/export.py on a tiny detector, its file in tools/test.py, and what is said of bad input."""

import json
import re
from functools import partial

import onnx
import pytest
from helpers import error_of, run_tool
from mmengine.config import Config

from mmptq.deploy import open_engine_file
from mmptq.engine.checkpoint import read_checkpoint

message_of = partial(error_of, 'export')


@pytest.fixture(scope='module')
def quantized(tiny_data, tmp_path_factory):
    """Config and quantized checkpoint of a tiny RetinaNet, fitted to ONNX Runtime."""
    from helpers import save_float_checkpoint, tiny_config

    folder = tmp_path_factory.mktemp('export')
    cfg = tiny_config(tiny_data, folder / 'work')
    save_float_checkpoint(cfg, folder / 'float.pth')
    cfg.load_from = str(folder / 'float.pth')
    cfg.dump(folder / 'tiny.py')
    options = ['--cfg-options', 'train_cfg.val_float=False']
    run_tool('ptq', folder / 'tiny.py', '--backend', 'onnxruntime', *options)
    return folder / 'tiny.py', folder / 'work/quantized.pth'


@pytest.mark.parametrize(
    ('backend', 'suffix', 'counts'),
    [
        ('onnxruntime', '.onnx', (48, 10)),
        ('onnxruntime_full', '.onnx', (58, 0)),
        ('openvino', '.xml', (58, 0)),
    ],
)
def test_file_of_a_backend_scores_like_the_simulation(quantized, tmp_path, backend, suffix, counts):
    config, checkpoint = quantized
    out = tmp_path / f'a{suffix}'
    run_tool('export', config, checkpoint, '--backend', backend, '--out', out)
    engine = open_engine_file(out, threads=1)
    assert engine.count_layers() == counts
    metadata = engine.metadata
    assert metadata['backend'] == backend
    assert metadata['recipe'][0]['type'] == 'Calibrator'
    assert metadata['input']['preprocessor']['mean'] == [123.675, 116.28, 103.53]
    assert metadata['scheme']['backbone.conv1'][1] == 'uint8 asym per-tensor'
    rows = json.loads(out.with_suffix('.parity.json').read_text())
    assert min(row['engine against file (dB)'] for row in rows) > 30
    simulated, deployed = tmp_path / 'simulated.json', tmp_path / 'deployed.json'
    run_tool('test', config, checkpoint, '--out', simulated)
    run_tool('test', config, out, '--out', deployed, '--threads', '1')
    simulated, deployed = (json.loads(p.read_text()) for p in (simulated, deployed))
    assert simulated.keys() == deployed.keys()
    assert deployed['coco/bbox_mAP'] == pytest.approx(simulated['coco/bbox_mAP'], abs=0.01)


def test_asymmetric_inputs_for_tensorrt(quantized, tmp_path):
    error = message_of(*quantized, '--backend', 'tensorrt', '--out', tmp_path / 'a.onnx')
    assert "'backbone.conv1' is uint8 asym per-tensor, and tensorrt needs symmetric=True" in error
    assert 'quantize again with --backend tensorrt' in error
    assert list(tmp_path.iterdir()) == []


def test_float_network(quantized, tmp_path):
    config, checkpoint = quantized
    out = tmp_path / 'float.onnx'
    float_checkpoint = checkpoint.parents[1] / 'float.pth'
    run_tool('export', config, float_checkpoint, '--float', '--out', out, '--fixed-size')
    model = onnx.load(out)
    assert not [n for n in model.graph.node if n.op_type == 'QuantizeLinear']
    assert out.stat().st_size > 2.5 * checkpoint.stat().st_size / 4
    message = message_of(config, checkpoint, '--float', '--out', out)
    assert 'is quantized: name a --backend' in message


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_boxes_from_raw_images(quantized, tmp_path, backend):
    config, checkpoint = quantized
    files = tmp_path / 'plain.onnx', tmp_path / 'boxes.onnx'
    arguments = config, checkpoint, '--backend', backend, '--out'
    run_tool('export', *arguments, files[0])
    options = ['--end-to-end', '--with-normalization', '--batch', '2', '--fixed-size']
    run_tool('export', *arguments, files[1], *options)
    engine = open_engine_file(files[1], threads=1)
    assert engine.output_names == ['boxes', 'scores', 'labels']
    assert engine.input_shape[0] == 2
    assert engine.metadata['raw_images']['dtype'] == 'uint8'
    assert engine.metadata['detections']['check']['as_decoded_by_the_detector'] >= 0.99
    scores = []
    for file in files:
        run_tool('test', config, file, '--out', tmp_path / 'metrics.json', '--threads', '1')
        scores.append(json.loads((tmp_path / 'metrics.json').read_text()))
    assert scores[1]['coco/bbox_mAP'] == pytest.approx(scores[0]['coco/bbox_mAP'], abs=0.002)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--batch', '0'], "--batch 0: use a number ≥ 1, or 'dynamic'"),
        (['--batch', 'some'], "--batch some: use a number ≥ 1, or 'dynamic'"),
        (['--opset', '12'], '--opset 12: use a number from 13 to 20'),
        (
            ['--end-to-end', '--cfg-options', 'model.test_cfg.nms.type=soft_nms'],
            "--end-to-end: ONNX has no operator for test_cfg.nms of type 'soft_nms'",
        ),
    ],
)
def test_bad_forms(quantized, tmp_path, options, message):
    error = message_of(
        *quantized, '--backend', 'onnxruntime', '--out', tmp_path / 'a.onnx', *options
    )
    assert message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(checkpoint='float.pth'), 'is not quantized: run tools/ptq.py first'),
        (dict(checkpoint='nowhere.pth'), "'.*nowhere.pth' does not exist"),
        (dict(backend='magic'), "there is no backend 'magic': use one of onnxruntime"),
        (dict(out='a.pb'), "'.*a.pb' must end in .onnx"),
    ],
)
def test_bad_arguments(quantized, tmp_path, changes, message):
    config, checkpoint = quantized
    if 'checkpoint' in changes:
        checkpoint = checkpoint.parents[1] / changes['checkpoint']
    backend, out = changes.get('backend', 'onnxruntime'), changes.get('out', 'a.onnx')
    error = message_of(config, checkpoint, '--backend', backend, '--out', tmp_path / out)
    assert re.search(message, error), error
    assert list(tmp_path.iterdir()) == []


def change_checkpoint(path, target, change):
    import torch

    content = read_checkpoint(path)
    change(content)
    torch.save(content, target)
    return target


def test_four_bit_activations(quantized, tmp_path):
    def change(content):
        for layer in content['meta']['quantizer']['layers']:
            layer['act']['bits'] = 4

    config, checkpoint = quantized
    four = change_checkpoint(checkpoint, tmp_path / 'four.pth', change)
    error = message_of(config, four, '--backend', 'openvino', '--out', tmp_path / 'a.onnx')
    assert "'backbone.conv1' has 4 bits, and openvino runs activations of 8" in error
    assert not (tmp_path / 'a.onnx').exists()


def test_partly_quantized(quantized, tmp_path):
    def change(content):
        content['state_dict']['neck.lateral_convs.0.conv.input_quantizer.scale'].zero_()

    config, checkpoint = quantized
    part = change_checkpoint(checkpoint, tmp_path / 'part.pth', change)
    error = message_of(config, part, '--backend', 'openvino', '--out', tmp_path / 'a.onnx')
    assert "'neck.lateral_convs.0.conv' was never calibrated" in error


def test_operator_that_no_engine_has(quantized, tmp_path, monkeypatch):
    from mmdet.models import FPN

    forward = FPN.forward
    monkeypatch.setattr(FPN, 'forward', lambda self, x: tuple(y.erfinv() for y in forward(self, x)))
    config, checkpoint = quantized
    error = message_of(config, checkpoint, '--backend', 'openvino', '--out', tmp_path / 'a.onnx')
    assert "the operator 'erfinv' of 'neck' is not part of ONNX" in error
    assert list(tmp_path.iterdir()) == []


def test_engine_that_computes_something_else(quantized, tmp_path, monkeypatch):
    from mmptq.deploy.engines import OpenVinoEngine

    run = OpenVinoEngine.run
    monkeypatch.setattr(OpenVinoEngine, 'run', lambda self, x: [1.5 * y for y in run(self, x)])
    config, checkpoint = quantized
    error = message_of(config, checkpoint, '--backend', 'openvino', '--out', tmp_path / 'a.onnx')
    assert re.search(r"openvino computes 'output_0_0' with .* dB .* nothing is written", error)
    assert list(tmp_path.iterdir()) == []


def test_full_disk(quantized, tmp_path, monkeypatch):
    import shutil

    def full(source, target):
        target.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(shutil, 'copyfile', full)
    config, checkpoint = quantized
    error = message_of(config, checkpoint, '--backend', 'openvino', '--out', tmp_path / 'a.onnx')
    assert 'No space left' in error
    assert list(tmp_path.iterdir()) == []


def test_ptq_refuses_what_the_backend_cannot_run(quantized):
    config, _ = quantized
    cfg = Config.fromfile(config)
    with pytest.raises(SystemExit, match='quantizer.act has 4 bits, and tensorrt runs'):
        run_tool('ptq', config, '--backend', 'tensorrt', '--cfg-options', 'quantizer.act.bits=4')
    assert cfg.quantizer.act.bits == 8


def test_ptq_refuses_a_rule_that_the_backend_cannot_run(quantized, tmp_path):
    config, _ = quantized
    cfg = Config.fromfile(config)
    cfg.quantizer.rules = [dict(name='neck.*', act=dict(bits=16))]
    cfg.dump(tmp_path / 'rule.py')
    options = ['--backend', 'openvino', '--work-dir', tmp_path / 'work']
    with pytest.raises(SystemExit, match="'neck.* has 16 bits, and openvino runs activations of 8"):
        run_tool('ptq', tmp_path / 'rule.py', *options)
    assert not list((tmp_path / 'work').glob('*.pth'))
    assert not (tmp_path / 'work/coverage.json').exists()


def test_calibration_data_of_a_folder(quantized, tmp_path, tiny_data):
    config, checkpoint = quantized
    cfg = Config.fromfile(config)
    cfg.train_dataloader = cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.dump(tmp_path / 'other.py')
    arguments = tmp_path / 'other.py', checkpoint, '--backend', 'onnxruntime'
    assert '--calibration-data' in message_of(*arguments)
    out = tmp_path / 'a.onnx'
    run_tool('export', *arguments, '--out', out, '--calibration-data', tiny_data / 'train')
    assert out.exists()
    missing = 'calibration.data=nowhere'  # as a kept config that was moved
    assert "'nowhere' does not exist" in message_of(*arguments, '--cfg-options', missing)
