"""Nothing of the float config's training acts in PTQ, nor in a test of its result."""

import copy
import pickle
import sys

import mmdet
import pytest
import torch
from fresh_process import run_fresh
from helpers import ROOT, run_tool
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook, LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from mmptq.engine.training import _holds_copy, is_of_training, prepare_config
from mmptq.quantization import QuantizationError

HOOK_MODULE = """
import copy
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS

calls = []


@HOOKS.register_module(force=True)
class OwnAverage(Hook):
    def before_run(self, runner):
        self.shadow = {k: v.clone() for k, v in runner.model.state_dict().items()}

    def before_val_epoch(self, runner):
        runner.model.load_state_dict(self.shadow)

    before_test_epoch = before_val_epoch


@HOOKS.register_module(force=True)
class OwnEMA(EMAHook):
    pass


@HOOKS.register_module(force=True)
class Notes(Hook):
    def __init__(self, word):
        self.word = word

    def before_run(self, runner):
        self.model, self.epochs = runner.model, runner.max_epochs
        calls.append(self.word)

    def after_val_epoch(self, runner, metrics=None):
        calls.append(sorted(metrics)[0])

    def before_test(self, runner):
        calls.append('test')
"""

TRAINING = dict(
    optim_wrapper=dict(
        type='AmpOptimWrapper',
        loss_scale='dynamic',
        optimizer=dict(type='OptimizerOfAnotherPackage', lr=0.1),
        constructor='ConstructorOfAnotherPackage',
        paramwise_cfg=dict(decay_rate=0.8),
    ),
    param_scheduler=[dict(type='SchedulerOfAnotherPackage', begin=0, end=3)],
    auto_scale_lr=dict(enable=True, base_batch_size=64),
    resume=True,
    compile=dict(backend='backend of another package'),
    efficient_conv_bn_eval=['backbone'],
    activation_checkpointing=['backbone.layer1'],
    sync_bn='torch',
    find_unused_parameters=True,
    visualizer=dict(
        type='DetLocalVisualizer',
        vis_backends=[dict(type='WandbVisBackend'), dict(type='BackendOfAnotherPackage')],
    ),
    log_processor=dict(
        type='LogProcessor',
        window_size=50,
        by_epoch=False,
        custom_cfg=[dict(data_src='loss', method_name='mean', window_size='global')],
    ),
    default_hooks=dict(
        checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'),
        averages=dict(type='OwnEMA'),
    ),
    custom_hooks=[
        dict(type='EMAHook', momentum=0.1, priority=49),
        dict(type='OwnAverage'),
        dict(type='Notes', word='kept'),
        dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP'),
        dict(type='ProfilerHook', by_epoch=True, profile_times=3),
        dict(type='mmdet.PipelineSwitchHook', switch_epoch=280, switch_pipeline=[]),
    ],
    train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=300, val_begin=100, val_interval=10),
)


@pytest.fixture
def hooks_of_the_user(tmp_path, monkeypatch):
    (tmp_path / 'own_hooks.py').write_text(HOOK_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'own_hooks', raising=False)
    yield
    sys.modules.pop('own_hooks', None)


def float_config(tiny, name: str, **changes) -> Config:
    """The tiny model as an ordinary float config with all that a training may hold."""
    cfg = Config.fromfile(tiny[0])
    for key in ('quantizer', 'stages', 'calibration', 'custom_hooks', 'train_cfg', 'load_from'):
        cfg.pop(key, None)
    cfg.custom_imports = dict(imports=['own_hooks'], allow_failed_imports=False)
    cfg.update(copy.deepcopy({**TRAINING, **changes}))
    path = tiny[0].parent / f'{name}.py'
    cfg.dump(path)
    return path


OPTIONS = ('--scheme', 'int8', '--recipe', 'minmax', '--cfg-options', 'calibration.num_samples=4')


def test_ptq_and_tests_of_its_result(tiny, tiny_quantized, hooks_of_the_user, tmp_path):
    """The same bits as without any of it, in own and stock tools."""
    path, work = float_config(tiny, 'trained'), tmp_path / 'trained'
    run_tool('ptq', path, tiny[1], *OPTIONS, '--work-dir', work)
    assert sys.modules['own_hooks'].calls == ['kept', 'coco/bbox_mAP', 'coco/bbox_mAP']
    kept = work / 'trained.py'
    cfg = Config.fromfile(kept)
    assert [hook['type'] for hook in cfg.custom_hooks] == [
        'OwnAverage',
        'Notes',
        'mmdet.PipelineSwitchHook',
        'QuantizationHook',
    ]
    assert cfg.resume is False and 'compile' not in cfg and 'averages' not in cfg.default_hooks
    plain = tiny_quantized / 'work'
    states = [
        torch.load(folder / 'quantized.pth', weights_only=True)['state_dict']
        for folder in (work, plain)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    results = []
    script = f'{mmdet.__path__[0]}/.mim/tools/test.py'
    for config in (kept, plain / 'tiny.py'):
        out = tmp_path / f'{config.stem}.pkl'
        arguments = ('--out', out, '--work-dir', tmp_path / 'stock')
        environment = dict(PYTHONPATH=f'{ROOT}:{path.parent}')
        done = run_fresh(script, config, work / 'quantized.pth', *arguments, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append([sample['pred_instances'] for sample in pickle.loads(out.read_bytes())])
    for one, two in zip(*results, strict=True):
        assert len(one['scores']) and all(torch.equal(one[key], two[key]) for key in one)
    run_tool('test', path, work / 'quantized.pth', '--work-dir', tmp_path / 'own')


def test_a_ptq_config_in_a_stock_runner(tiny, tmp_path):
    """Hooks and leftovers of a leaf that inherits a training."""
    cfg = Config.fromfile(tiny[0])
    cfg.custom_hooks = [dict(type='EMAHook'), dict(type='QuantizationHook')]
    cfg.optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='Unknown'))
    cfg.param_scheduler = [dict(type='Unknown', begin=0, end=1)]
    cfg.resume = True
    cfg.compile = True
    cfg.train_cfg.update(max_epochs=12, val_interval=1, dynamic_intervals=[(10, 1)])
    for frozen in (False, True):
        cfg.work_dir = str(tmp_path / f'stock{frozen}')
        runner = Runner.from_cfg(cfg)
        runner.model.requires_grad_(not frozen)
        runner.train()
        assert not any(isinstance(hook, EMAHook) for hook in runner.hooks)
    states = [
        torch.load(tmp_path / f'stock{frozen}/quantized.pth', weights_only=True)['state_dict']
        for frozen in (False, True)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    cfg.train_cfg.val_flaot = False
    with pytest.raises(QuantizationError, match="train_cfg has an unknown key 'val_flaot'"):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('resume', [False, True])
def test_random_weights_are_not_quantized(tiny, tmp_path, resume):
    cfg = Config.fromfile(tiny[0])
    cfg.update(load_from=None, resume=resume, work_dir=str(tmp_path / 'none'))
    with pytest.raises(QuantizationError, match='no float checkpoint was loaded.*set load_from'):
        Runner.from_cfg(cfg).train()
    assert not (tmp_path / 'none/quantized.pth').exists()


def test_a_config_without_the_hook_is_checked_too(tiny, tmp_path):
    cfg = Config.fromfile(tiny[0])
    content = torch.load(tiny[1], weights_only=True)
    content['state_dict'].pop('backbone.conv1.weight')
    torch.save(content, tmp_path / 'less.pth')
    cfg.update(load_from=str(tmp_path / 'less.pth'), custom_hooks=[])
    with pytest.raises(QuantizationError, match="lacks 1 keys .*'backbone.conv1.weight'"):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('hooks', [[], [dict(type='QuantizationHook')]])
def test_a_quantized_model_is_not_trained(tiny_quantized, tmp_path, hooks):
    """It would leave its grids without a word."""
    cfg = Config.fromfile(tiny_quantized / 'tiny.py')
    for key in ('quantizer', 'stages', 'calibration'):
        cfg.pop(key)
    cfg.update(custom_hooks=hooks, work_dir=str(tmp_path))
    cfg.load_from = str(tiny_quantized / 'work/quantized.pth')
    cfg.pop('train_cfg')
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    cfg.param_scheduler = None
    runner = Runner.from_cfg(cfg)
    with pytest.raises(
        QuantizationError, match="quantized.pth' is quantized, and a training would"
    ):
        runner.train()
    cfg.load_from = str(tiny_quantized / 'float.pth')
    cfg.train_dataloader.dataset.indices = 1
    assert Runner.from_cfg(cfg).train() is not None


class Keeps(Hook):
    def __init__(self, **attributes):
        vars(self).update(attributes)


def test_hooks_that_hold_a_copy():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    other = copy.deepcopy(model)
    parameters = dict(other.named_parameters())
    for hook in (
        Keeps(ema=other),
        Keeps(ema=nn.DataParallel(other)),
        Keeps(states=[dict(weights=parameters)]),
        Keeps(shadow=other.state_dict()),
    ):
        assert _holds_copy(hook, model), vars(hook)
    for hook in (
        Keeps(model=model, wrapped=nn.DataParallel(model), part=model[0]),
        Keeps(loss=nn.MSELoss(), teacher=nn.Linear(5, 5)),
        Keeps(norms={'0.weight': 3.0}, one={'0.weight': model[0].weight}),
        LoggerHook(),
    ):
        assert not _holds_copy(hook, model), vars(hook)


def test_averaging_hooks_in_every_form():
    for hook in (
        dict(type='EMAHook'),
        dict(type='mmengine.EMAHook'),
        dict(type=EMAHook),
        EMAHook(),
        dict(type='mmdet.MeanTeacherHook'),
    ):
        assert is_of_training(hook)
    for hook in (dict(type='NoSuchHook'), dict(type=LoggerHook), LoggerHook(), None):
        assert not is_of_training(hook)
    assert 'EMAHook' in HOOKS
    cfg = Config(dict(default_hooks=dict(a=dict(type='EMAHook'), b=dict(type='LoggerHook'))))
    prepare_config(cfg)
    assert cfg.default_hooks == dict(b=dict(type='LoggerHook'))
