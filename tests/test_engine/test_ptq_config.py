"""Configs of PTQ runs made of float configs."""

import argparse

import pytest
from mmengine.config import Config

from mmptq.engine.ptq_config import (
    add_ptq_arguments,
    layer_rules,
    make_ptq_config,
    prepare_runner_config,
    ptq_config,
)
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import make_parser

HOOK = dict(type='QuantizationHook')


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (None, dict(imports=['mmptq'], allow_failed_imports=False)),
        (dict(imports='mypkg'), dict(imports=['mypkg', 'mmptq'], allow_failed_imports=False)),
        (
            dict(imports=['mmptq', 'a', 'b'], allow_failed_imports=True),
            dict(imports=['a', 'b', 'mmptq'], allow_failed_imports=True),
        ),
    ],
)
def test_custom_imports_stay(given, expected):
    cfg = Config(dict() if given is None else dict(custom_imports=given))
    make_ptq_config(cfg)
    assert cfg.custom_imports == expected
    make_ptq_config(cfg)
    assert cfg.custom_imports == expected


def test_hooks_stay_unless_they_hold_a_copy_of_the_model():
    own = [dict(type='NumClassCheckHook'), dict(type='HookOfTheUser', argument=3)]
    copies = [
        dict(type='EMAHook', momentum=0.1),
        dict(type='mmengine.EMAHook'),
        dict(type='MeanTeacherHook'),
    ]
    cfg = Config(dict(custom_hooks=[own[0], *copies, own[1]]))
    make_ptq_config(cfg)
    assert cfg.custom_hooks == [*own, HOOK]
    make_ptq_config(cfg)
    assert cfg.custom_hooks == [*own, HOOK]
    assert cfg.train_cfg == dict(type='PTQLoop')


def test_hooks_given_as_classes():
    from mmengine.hooks import EMAHook, IterTimerHook

    cfg = argparse.Namespace(custom_hooks=[dict(type=EMAHook), dict(type=IterTimerHook)])
    cfg.get = lambda key: getattr(cfg, key, None)
    make_ptq_config(cfg)
    assert cfg.custom_hooks == [dict(type=IterTimerHook), HOOK]


def test_nothing_of_the_training_is_left():
    training = dict(
        optim_wrapper=dict(type='AmpOptimWrapper', optimizer=dict(type='OfAnotherPackage')),
        param_scheduler=[dict(type='OfAnotherPackage')],
        calibration=dict(data='images'),  # no matter here
        auto_scale_lr=dict(enable=True),
        runner_type='FlexibleRunner',
        strategy=dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=3)),
    )
    cfg = Config(training)
    prepare_runner_config(cfg, 'float.pth')
    assert 'runner_type' not in cfg and 'strategy' not in cfg
    assert cfg.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0))
    assert cfg.param_scheduler is None and cfg.auto_scale_lr is None
    assert cfg.load_from == 'float.pth' and cfg.randomness == dict(seed=0)


def test_layer_rules():
    assert layer_rules(['neck.*'], ['head.a=8', 'b=c=w4a8']) == [
        dict(name='neck.*', weight=None, act=None, reason='--float'),
        dict(name='head.a', weight=dict(bits=8), act=dict(bits=8), reason='--bits 8'),
        dict(name='b=c', weight=dict(bits=4), act=dict(bits=8), reason='--bits w4a8'),
    ]
    for entry in ('head', '=8', 'head=', 'head=int8', 'head=w4', 'head=a4w8'):
        with pytest.raises(QuantizationError, match='use NAME=8, or NAME=w4a8'):
            layer_rules([], [entry])


def config_of(tmp_path, text: str, *options: str) -> Config:
    """What tools/ptq.py makes of a config file and options."""
    path = tmp_path / 'float.py'
    path.write_text(text)
    parser = make_parser('x')
    add_ptq_arguments(parser)
    return ptq_config(parser.parse_args([str(path), *options]))


POLICY = """
ptq = dict(
    rules=[dict(name='head.last', weight=dict(bits=8), act=dict(bits=8))],
    units=['head'],
    calibration=dict(num_samples=10),
)
"""


def test_order_of_settings(tmp_path):
    options = ('--scheme', 'w4a4', '--recipe', 'qdrop', '--float', 'a')
    cfg = config_of(tmp_path, POLICY, *options, '--cfg-options', 'stages.1.num_iters=3')
    names = [rule.get('role') or rule.name for rule in cfg.quantizer.rules]
    assert names == ['first', 'last', 'head.last', 'a']
    assert cfg.stages[1].units == ['head'] and cfg.stages[1].num_iters == 3
    assert 'units' not in cfg.stages[0]
    assert cfg.calibration == dict(num_samples=10)
    assert 'ptq' not in cfg


def test_a_run_without_the_policy(tmp_path):
    options = ('--scheme', 'w4a4', '--recipe', 'qdrop', '--cfg-options', 'ptq=None')
    cfg = config_of(tmp_path, POLICY, *options)
    assert len(cfg.quantizer.rules) == 2 and 'units' not in cfg.stages[1]


def test_nothing_is_named(tmp_path):
    cfg = config_of(tmp_path, POLICY, '--float', 'a')
    assert cfg.quantizer.weight.bits == 8 and cfg.stages[-1].type == 'AutoTuner'
    assert [rule.name for rule in cfg.quantizer.rules] == ['head.last', 'a']
    assert cfg.train_cfg == dict(type='PTQLoop') and cfg.custom_hooks == [HOOK]
    assert cfg.calibration == dict(num_samples=10, default_samples=64)
    assert config_of(tmp_path, '').calibration == dict(default_samples=64)


def test_only_a_scheme_or_only_a_recipe(tmp_path):
    cfg = config_of(tmp_path, '', '--scheme', 'w4a8')
    assert cfg.quantizer.weight.bits == 4 and cfg.stages[-1].type == 'AutoTuner'
    cfg = config_of(tmp_path, '', '--recipe', 'mse')
    assert cfg.quantizer.weight.bits == 8 and len(cfg.stages) == 1
    assert 'calibration' not in cfg


def test_a_policy_with_scales_that_the_backend_lacks(tmp_path):
    policy = "ptq = dict(rules=[dict(role='depthwise', act=dict(bits=8, per_channel=True))])"
    for options, act in (
        ((), dict(bits=8, per_channel=True)),
        (('--backend', 'openvino'), dict(bits=8)),
        (('--backend', 'openvino', '--recipe', 'mse'), dict(bits=8, per_channel=True)),
    ):
        (rule,) = config_of(tmp_path, policy, *options).quantizer.rules
        assert rule.act == act


def test_a_budget_leaves_no_more_bits_to_the_search(tmp_path):
    cfg = config_of(tmp_path, '', '--average-bits', '5')
    kinds = [stage.type for stage in cfg.stages]
    assert kinds == ['BitAllocation', 'Calibrator', 'AutoTuner']
    assert cfg.stages[-1].remedies == ['multipliers', 'ranges', 'biases']
    cfg = config_of(tmp_path, '', '--max-drop', '0.005')
    assert cfg.stages[1].remedies == ['multipliers', 'ranges', 'more_bits']
