"""A quantized checkpoint loads whole, or stops: through OpenMMLab's functions and tools."""

import copy
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import mmcv
import mmdet
import numpy as np
import pytest
import torch
from doc_examples import python_example
from helpers import ROOT, run_tool, save_float_checkpoint, tiny_config
from mmdet.models.test_time_augs import DetTTAModel
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import nn

import mmptq
from mmptq.engine import build_model, load_quantized
from mmptq.engine.evaluation import add_tta, runner_of_test
from mmptq.quantization import FakeQuantizer, QuantizationError, quantized_layers

TTA = """
tta_model = dict(
    type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=10)
)
"""


@pytest.fixture(scope='module')
def quantized(tiny_data, tmp_path_factory):
    """Config file and checkpoint of one PTQ run, and the model of ``load_quantized``."""
    folder = tmp_path_factory.mktemp('quantized')
    cfg = tiny_config(tiny_data, folder / 'work')
    save_float_checkpoint(cfg, folder / 'float.pth')
    cfg.load_from = str(folder / 'float.pth')
    cfg.dump(folder / 'tiny.py')
    run_tool('ptq', folder / 'tiny.py', '--cfg-options', 'train_cfg.val_float=False')
    path = folder / 'work/quantized.pth'
    return folder / 'tiny.py', path, load_quantized(build_model(cfg), path)


def bare_model(quantized) -> nn.Module:
    return build_model(Config.fromfile(quantized[0]))


def same_bits(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def boxes(sample) -> torch.Tensor:
    found = sample.pred_instances
    return torch.cat([found.bboxes, found.scores[:, None]], 1)


def test_init_detector(quantized):
    from mmdet.apis import inference_detector, init_detector

    path, checkpoint, expected = quantized
    model = init_detector(str(path), str(checkpoint), device='cpu')
    assert same_bits(model, expected)
    assert model.dataset_meta['classes'][0] == 'button'
    expected.cfg = model.cfg
    predictions = [boxes(inference_detector(m, image())) for m in (model, expected)]
    assert len(predictions[0]) and torch.equal(*predictions)


@pytest.mark.parametrize('with_config', [True, False])
def test_inferencer(quantized, with_config):
    """Without a config it takes the one in the checkpoint."""
    from mmdet.apis import DetInferencer, inference_detector

    path, checkpoint, expected = quantized
    inferencer = DetInferencer(str(path) if with_config else None, str(checkpoint), device='cpu')
    assert same_bits(inferencer.model, expected)
    (found,) = inferencer(image(), return_datasamples=True, no_save_vis=True)['predictions']
    expected.cfg = Config.fromfile(path)
    assert torch.equal(boxes(found), boxes(inference_detector(expected, image())))


def test_the_example_of_the_page(quantized, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mmcv.imwrite(image(), 'demo.jpg')
    code = python_example('docs/user_guides/loading.md')
    names = 'CONFIG.py', 'work_dirs/CONFIG_NAME/quantized.pth'
    for name, path in zip(names, quantized[:2], strict=True):
        assert name in code
        code = code.replace(name, str(path))
    found: dict = {}
    exec(compile(code.replace('checkpoint)', "checkpoint, device='cpu')"), 'page', 'exec'), found)
    assert len(boxes(found['result'])) and (tmp_path / 'outputs/vis/demo.jpg').is_file()
    assert same_bits(found['model'], found['inferencer'].model)


@pytest.mark.parametrize('wrapper', [nn.Identity, nn.DataParallel, 'tta'])
def test_load_checkpoint(quantized, wrapper):
    path, checkpoint, expected = quantized
    model = bare_model(quantized)
    if wrapper == 'tta':
        outer = DetTTAModel(module=model)
    else:
        outer = model if wrapper is nn.Identity else wrapper(model)
    content = load_checkpoint(outer, str(checkpoint))
    assert content['meta']['dataset_meta']['classes'][0] == 'button'
    assert same_bits(model, expected)
    load_checkpoint(outer, str(checkpoint))  # into the quantized model
    assert same_bits(model, expected)
    assert same_bits(mmptq.load(nn.DataParallel(bare_model(quantized)), checkpoint).module, model)


def test_inference_benchmark_of_mmdet(quantized, monkeypatch):
    monkeypatch.setitem(sys.modules, 'psutil', SimpleNamespace(Process=object))
    from mmdet.utils.benchmark import InferenceBenchmark

    path, checkpoint, expected = quantized
    monkeypatch.setattr(nn.Module, 'cuda', lambda model, device=None: model)
    init_default_scope('mmdet')
    benchmark = object.__new__(InferenceBenchmark)  # only how it loads: it measures GPUs
    benchmark.cfg, benchmark.distributed = Config.fromfile(path), False
    assert same_bits(benchmark._init_model(str(checkpoint), False), expected)


def test_a_detector_inside_of_a_tracker(quantized):
    class Tracker(nn.Module):
        def __init__(self, detector):
            super().__init__()
            self.detector = detector

    tracker = Tracker(bare_model(quantized))
    load_checkpoint(tracker.detector, str(quantized[1]))
    assert same_bits(tracker.detector, quantized[2])
    with pytest.raises(QuantizationError, match="'backbone.conv1', which is missing in the model"):
        load_checkpoint(Tracker(bare_model(quantized)), str(quantized[1]))


def test_a_part_is_refused(quantized):
    from mmengine.model import PretrainedInit

    part = dict(type='Pretrained', checkpoint=str(quantized[1]))
    for prefix, message in ((None, 'which is missing in the model'), ('backbone.', 'a part')):
        init = PretrainedInit(part['checkpoint'], prefix)
        with pytest.raises(QuantizationError, match=message):
            init(bare_model(quantized).backbone)


def test_another_plan_is_refused(quantized):
    model = copy.deepcopy(quantized[2])
    model.backbone.conv1.set_quantizer('input', None)
    with pytest.raises(QuantizationError, match="differs from the checkpoint in 'backbone.conv1'"):
        load_checkpoint(model, str(quantized[1]))


def test_a_runner_without_the_hook(quantized, tmp_path):
    path, checkpoint, expected = quantized
    cfg = Config.fromfile(path)
    cfg.update(custom_hooks=[], load_from=str(checkpoint), work_dir=str(tmp_path))
    runner = Runner.from_cfg(cfg)
    runner.test()
    assert same_bits(runner.model, expected)


CHECK = """
import sys, torch
from mmdet.apis import init_detector
from mmdet.models.test_time_augs import DetTTAModel
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmdet.utils import register_all_modules
register_all_modules()
from mmdet.registry import MODELS
cfg = Config.fromfile(sys.argv[1], import_custom_modules=False)
for load in (
    lambda model: load_checkpoint(model, sys.argv[2]),
    lambda model: model.load_state_dict(torch.load(sys.argv[2])['state_dict'], strict=False),
):
    try:
        load(MODELS.build(cfg.model))
    except AttributeError as error:
        print(error)
print([key for key in torch.load(sys.argv[2])['state_dict'] if 'conv1.packed' in key][0])
assert 'mmptq' not in sys.modules
"""


def test_without_mmptq_every_load_stops_and_the_file_stays_readable(quantized):
    command = [sys.executable, '-W', 'ignore', '-c', CHECK, quantized[0], quantized[1]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=quantized[0].parent)
    lines = done.stdout.splitlines()
    stop = "'tuple' object has no attribute 'get'"
    assert lines[-3:] == [stop, stop, 'backbone.conv1.packed_weight'], done.stderr[-2000:]


@pytest.mark.slow
def test_test_time_augmentation(quantized, tmp_path):
    """The stock tool and this one merge the predictions of the quantized model."""
    path, checkpoint, _ = quantized
    config = tmp_path / 'tta.py'
    config.write_text(f"_base_ = '{path}'\n{TTA}")
    script = f'{mmdet.__path__[0]}/.mim/tools/test.py'
    command = [sys.executable, script, config, checkpoint, '--tta', '--out', tmp_path / 'a.pkl']
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    command += ['--work-dir', tmp_path / 'stock']
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    stock = [sample['pred_instances'] for sample in pickle.loads((tmp_path / 'a.pkl').read_bytes())]
    run_tool('test', config, checkpoint, '--tta', '--work-dir', tmp_path / 'own')
    found = [
        predictions(config, file, tmp_path) for file in (checkpoint, path.parent / 'float.pth')
    ]
    for values, own, of_float in zip(stock, *found, strict=True):
        assert torch.equal(torch.cat([values['bboxes'], values['scores'][:, None]], 1), own)
        assert own.shape != of_float.shape or not torch.equal(own, of_float)


@torch.no_grad()
def predictions(config, checkpoint, folder) -> list[torch.Tensor]:
    """Boxes with scores that the test runner of this package finds in the test images."""
    cfg = Config.fromfile(config)
    add_tta(cfg)
    cfg.work_dir = str(folder / 'predictions')  # the runner writes a config of this name
    runner = runner_of_test(cfg, str(checkpoint))
    runner.load_or_resume()
    runner.model.eval()
    return [boxes(runner.model.test_step(data)[0]) for data in runner.test_dataloader]


def test_the_config_of_the_ptq_run_stays(quantized, tmp_path):
    config, checkpoint, _ = quantized
    kept = checkpoint.with_name(config.name)
    text = kept.read_text()
    cfg = Config.fromfile(config)  # its work directory is that of the run
    cfg.note = 'of a test'
    runner_of_test(cfg, str(checkpoint))
    assert 'PTQLoop' in text and kept.read_text() == text
    cfg.work_dir = str(tmp_path)
    runner_of_test(cfg, str(checkpoint))
    assert 'of a test' in (tmp_path / config.name).read_text()


def test_pickle_copy_and_save(quantized, tmp_path):
    model, x = quantized[2], torch.randn(1, 3, 64, 96)
    torch.save(model, tmp_path / 'model.pt')
    copies = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        torch.load(tmp_path / 'model.pt', weights_only=False),
    ]
    with torch.no_grad():
        expected = model(x, mode='tensor')
        for other in copies:
            assert same_bits(other, model)
            assert quantized_layers(other).keys() == quantized_layers(model).keys()
            for a, b in zip(expected, other(x, mode='tensor'), strict=True):
                assert all(torch.equal(*pair) for pair in zip(a, b, strict=True))


def test_half_precision(quantized):
    model = copy.deepcopy(quantized[2]).half()
    scales = [m.scale for m in model.modules() if isinstance(m, FakeQuantizer)]
    assert scales and all(scale.dtype == torch.float32 for scale in scales)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = model(x.half(), mode='tensor')[0][0]
        expected = quantized[2](x, mode='tensor')[0][0]
    assert found.dtype == torch.float16
    assert (found - expected).abs().mean() < 0.1 * expected.abs().mean()


def test_scope_is_not_needed(quantized):
    init_default_scope('mmengine')
    assert same_bits(load_quantized(bare_model(quantized), quantized[1]), quantized[2])
