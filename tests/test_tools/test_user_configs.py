"""Configs as people write them: what tools/ptq.py accepts, test and export accept, too."""

import json
import re
import sys

import pytest
import torch
from helpers import make_ordinary, run_tool
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope, root

from mmptq.engine.checkpoint import read_checkpoint
from mmptq.ptq import PTQContext
from mmptq.report import read_record

PTQ = ['--scheme', 'int8', '--recipe', 'minmax', '--backend', 'onnxruntime']
OPTIONS = ['--cfg-options', 'train_cfg.val_float=False', 'calibration.num_samples=2']
TYPE = re.compile(r"type='(\w+)'")

PACKAGE = """
import torch
from mmdet.models import RetinaHead, RetinaNet
from mmengine.registry import MODELS


@MODELS.register_module(name='GatedRetinaNet', force=True)
class GatedRetinaNet(RetinaNet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.gate = torch.nn.Conv2d(16, 16, 1)

    def extract_feat(self, inputs):
        return tuple(x * self.gate(x).sigmoid() for x in super().extract_feat(inputs))


@MODELS.register_module(name='OwnRetinaHead', force=True)
class OwnRetinaHead(RetinaHead):
    def forward_single(self, x):
        return super().forward_single(x * 2)
"""


@pytest.fixture
def float_config(tiny):
    """An ordinary float config, as a file and as a Config, and its checkpoint."""
    path, checkpoint = tiny
    return path, make_ordinary(path), checkpoint


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / 'gated_package.py').write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    yield 'gated_package'
    sys.modules.pop('gated_package', None)


def check_tools(path, checkpoint, tmp_path) -> Config:
    """The tools accept the config of the user, and the one that the run keeps, which it returns."""
    run_tool('ptq', path, checkpoint, *PTQ, *OPTIONS)
    work = path.parent / 'work'
    quantized, kept = work / 'quantized.pth', Config.fromfile(work / path.name)
    for number, config in enumerate([work / path.name, path]):
        file = tmp_path / f'file{number}.onnx'
        run_tool('export', config, quantized, '--backend', 'onnxruntime', '--out', file)
        assert file.stat().st_size > 100_000
    out = tmp_path / 'metrics.json'
    run_tool('test', path, quantized, '--out', out, '--work-dir', tmp_path / 'test')
    result = read_record(work, 'result')['quantized']
    assert json.loads(out.read_text()) == result
    return kept


def test_imports_as_one_string(float_config, package, tmp_path):
    path, cfg, checkpoint = float_config
    cfg.custom_imports = dict(imports=package, allow_failed_imports=True)
    cfg.dump(path)
    kept = check_tools(path, checkpoint, tmp_path)
    assert kept.custom_imports.imports == [package, 'mmptq']
    assert kept.custom_imports.allow_failed_imports is True


@pytest.mark.slow
def test_preprocessor_at_the_top_level(float_config, tmp_path):
    path, cfg, checkpoint = float_config
    run_tool('ptq', path, checkpoint, *PTQ, '--work-dir', tmp_path / 'inside', *OPTIONS)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    cfg.dump(path)
    check_tools(path, checkpoint, tmp_path)
    files = [folder / 'quantized.pth' for folder in (tmp_path / 'inside', path.parent / 'work')]
    first, second = (read_checkpoint(file)['state_dict'] for file in files)
    assert all(value.equal(second[key]) for key, value in first.items())


def shortest_path(cls) -> str:
    """The package that people import a class from."""
    parts = cls.__module__.split('.')
    paths = ['.'.join(parts[:count]) for count in range(1, len(parts) + 1)]
    found = (path for path in paths if getattr(sys.modules[path], cls.__name__, None) is cls)
    return next(found)


def with_classes(cfg, path):
    """The config in mmengine's pure Python form: classes in place of names, no scope."""
    init_default_scope('mmdet')
    registries = [x for x in vars(root).values() if isinstance(x, Registry)]
    cfg.pop('default_scope', None)
    text, imports = cfg.pretty_text, set()

    def name_of(match):
        for registry in registries:
            with registry.switch_scope_and_registry('mmdet') as found:
                cls = found.get(match[1])
            if isinstance(cls, type):
                imports.add(f'from {shortest_path(cls)} import {cls.__name__}')
                return f'type={cls.__name__}'
        return match[0]

    text = TYPE.sub(name_of, text)
    path.write_text('\n'.join([*sorted(imports), 'default_scope = None', text]))


@pytest.mark.slow
def test_classes_in_place_of_names_and_no_scope(float_config, tmp_path):
    path, cfg, checkpoint = float_config
    with_classes(cfg, path)
    assert 'type=RetinaNet' in path.read_text()
    assert set(TYPE.findall(path.read_text())) == {'nms'}  # a function of mmcv
    check_tools(path, checkpoint, tmp_path)


def test_a_module_between_neck_and_head(float_config, package, tmp_path, capsys):
    """It is quantized and scored; a file would lack it, so that no file is written."""
    path, cfg, checkpoint = float_config
    cfg.custom_imports = dict(imports=[package])
    cfg.model.type = 'GatedRetinaNet'
    cfg.dump(path)
    content = torch.load(checkpoint, weights_only=True)
    gate = torch.nn.Conv2d(16, 16, 1)
    content['state_dict'].update({f'gate.{key}': value for key, value in gate.state_dict().items()})
    torch.save(content, checkpoint)
    run_tool('ptq', path, checkpoint, *PTQ, *OPTIONS)
    rows = {row['layer']: row for row in read_record(path.parent / 'work', 'coverage')}
    assert rows['gate']['input'].startswith('uint8')
    out = tmp_path / 'file.onnx'
    with pytest.raises(SystemExit) as stop:
        quantized = path.parent / 'work/quantized.pth'
        run_tool('export', path, quantized, '--backend', 'onnxruntime', '--out', out)
    assert str(stop.value.code).startswith("error: GatedRetinaNet cannot be exported: 'gate' runs")
    assert not out.exists()


@pytest.mark.parametrize('recipe', ['brecq', 'detptq', 'distill'])
def test_a_head_without_an_adapter_is_refused_at_once(float_config, package, monkeypatch, recipe):
    path, cfg, checkpoint = float_config
    cfg.custom_imports = dict(imports=[package])
    cfg.model.bbox_head.type = 'OwnRetinaHead'
    cfg.dump(path)
    monkeypatch.setattr(PTQContext, 'evaluate', lambda *_: pytest.fail('evaluated'))
    with pytest.raises(SystemExit) as stop:
        options = ['--cfg-options', 'calibration.num_samples=2']
        run_tool('ptq', path, checkpoint, '--scheme', 'int8', '--recipe', recipe, *options)
    message = str(stop.value.code)
    assert 'no adapter for RetinaNet with OwnRetinaHead' in message
    assert message.endswith('choose a recipe without it, such as mse, adaround or qdrop')
