"""tools/train.py and tools/test.py on a toy model, in both scopes."""

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

TOY_MODULE = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS


@DATASETS.register_module(force=True)
class ToyDataset(torch.utils.data.Dataset):
    METAINFO = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor([float(index)])


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode='tensor'):
        if mode == 'loss':
            return dict(loss=(self.weight - 1).square().sum())
        return [self.weight.item()] * len(inputs)

    def train_step(self, data, optim_wrapper):
        losses = self(data, mode='loss')
        optim_wrapper.update_params(losses['loss'])
        return losses

    def test_step(self, data):
        return self(data, mode='predict')


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(weight=sum(results) / len(results))
"""

CONFIG = """
default_scope = '{scope}'
custom_imports = dict(imports=['toy_components'], allow_failed_imports=False)
model = dict(type='mmengine.ToyModel')
train_dataloader = dict(
    batch_size=2,
    dataset=dict(type='mmengine.ToyDataset'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = train_dataloader
train_cfg = dict(by_epoch=True, max_epochs=2)
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
test_evaluator = dict(type='mmengine.ToyMetric')
"""


@pytest.fixture(params=['mmdet', 'mmdet3d'])
def config(request, tmp_path, monkeypatch):
    pytest.importorskip(request.param)
    (tmp_path / 'toy_components.py').write_text(TOY_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'toy_components', raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'toy.py'
    path.write_text(CONFIG.format(scope=request.param))
    return path


def run_tool(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
    runpy.run_path(str(TOOLS / name), run_name='__main__')


def test_train_then_test(config, tmp_path, monkeypatch, capsys):
    run_tool(monkeypatch, 'train.py', config)
    checkpoint = tmp_path / 'work_dirs' / 'toy' / 'epoch_2.pth'
    assert checkpoint.is_file()
    out = tmp_path / 'metrics.json'
    run_tool(monkeypatch, 'test.py', config, checkpoint, '--work-dir', 'evaluated', '--out', out)
    # Four steps of gradient descent with rate 0.1 on (weight - 1)^2: 1 - 0.8 ** 4.
    assert json.loads(out.read_text())['weight'] == pytest.approx(1 - 0.8**4, abs=1e-6)
    assert 'weight: 0.59' in capsys.readouterr().out
    assert (tmp_path / 'evaluated').is_dir()


def test_resume_and_overrides(config, tmp_path, monkeypatch):
    run_tool(monkeypatch, 'train.py', config, '--cfg-options', 'train_cfg.max_epochs=1')
    folder = tmp_path / 'work_dirs' / 'toy'
    first = (folder / 'epoch_1.pth').stat().st_mtime_ns
    run_tool(monkeypatch, 'train.py', config, '--resume')
    assert (folder / 'epoch_2.pth').is_file()
    assert (folder / 'epoch_1.pth').stat().st_mtime_ns == first, 'training started over'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('test.py', 'absent.py', 'x.pth'), "config 'absent.py' does not exist"),
        (('test.py', 'toy.py', 'absent.pth'), "checkpoint 'absent.pth' does not exist"),
        (
            ('test.py', 'alone.py', 'x.pth'),
            "config 'alone.py' imports what cannot be imported (No ",
        ),
        (
            ('train.py', 'alone.py'),
            "config 'alone.py' imports what cannot be imported (No module n",
        ),
        (('train.py', 'absent.py'), "config 'absent.py' does not exist"),
        (('train.py', 'toy.py', '--resume', 'absent.pth'), "checkpoint 'absent.pth' does not"),
    ],
)
def test_missing_files_get_one_sentence(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'toy_components', raising=False)
    (tmp_path / 'toy_components.py').write_text(TOY_MODULE)
    text = CONFIG.format(scope='mmdet')
    (tmp_path / 'toy.py').write_text(text)
    (tmp_path / 'alone.py').write_text(text.replace('toy_components', 'not_on_the_path'))
    with pytest.raises(SystemExit) as exit_info:
        run_tool(monkeypatch, *arguments)
    assert str(exit_info.value).startswith(f'error: {message}')
    assert not (tmp_path / 'work_dirs').exists()
