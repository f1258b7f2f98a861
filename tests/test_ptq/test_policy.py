"""What a model's config says of itself is added to every scheme and recipe."""

import copy

import pytest

import mmptq.ptq  # noqa: F401 (it registers the stages)
from mmptq.ptq.policy import apply_policy
from mmptq.quantization import QuantizationError

EIGHT = dict(name='head', weight=dict(bits=8), act=dict(bits=8))
FLOAT_AT_FOUR = dict(name='curve.*', weight=None, act=None, max_bits=4)


def config(bits: int = 4, **policy) -> dict:
    return dict(
        ptq=policy,
        quantizer=dict(weight=dict(bits=bits), act=dict(bits=8), rules=[dict(role='first')]),
        stages=[
            dict(type='Calibrator'),
            dict(type='Reconstructor', units=['own']),
            dict(type='Reconstructor'),
            dict(type='Distillation'),
        ],
    )


def test_rules_come_after_those_of_the_scheme():
    cfg = config(rules=[EIGHT, FLOAT_AT_FOUR])
    apply_policy(cfg)
    unconditional = {key: value for key, value in FLOAT_AT_FOUR.items() if key != 'max_bits'}
    assert cfg['quantizer']['rules'] == [dict(role='first'), EIGHT, unconditional]


@pytest.mark.parametrize(('bits', 'count'), [(2, 3), (4, 3), (8, 2)])
def test_a_rule_for_few_bits(bits, count):
    cfg = config(bits, rules=[EIGHT, FLOAT_AT_FOUR])
    apply_policy(cfg)
    assert len(cfg['quantizer']['rules']) == count


def test_units_go_to_the_stages_that_take_them():
    cfg = config(units=[dict(name='head', granularity='layer')])
    apply_policy(cfg)
    assert [stage.get('units') for stage in cfg['stages']] == [
        None,
        [dict(name='head', granularity='layer'), 'own'],
        [dict(name='head', granularity='layer')],
        None,
    ]


def test_calibration_has_defaults():
    cfg = config(calibration=dict(num_samples=56, overlap='warn'))
    cfg['calibration'] = dict(num_samples=4)
    apply_policy(cfg)
    assert cfg['calibration'] == dict(num_samples=4, overlap='warn')


def test_a_second_call_changes_nothing():
    cfg = config(rules=[EIGHT], units=['head'], calibration=dict(num_samples=56))
    policy = copy.deepcopy(cfg['ptq'])
    apply_policy(cfg)
    assert 'ptq' not in cfg
    once = copy.deepcopy(cfg)
    apply_policy(cfg)
    assert cfg == once
    assert policy == dict(rules=[EIGHT], units=['head'], calibration=dict(num_samples=56))


@pytest.mark.parametrize('empty', [None, {}, dict(rules=None)])
def test_no_policy(empty):
    cfg = dict(ptq=empty, quantizer=dict(rules=[]))
    apply_policy(cfg)
    assert cfg == dict(quantizer=dict(rules=[]))


@pytest.mark.parametrize(
    ('policy', 'message'),
    [
        (dict(rule=[]), "unknown key 'rule': use rules, units, calibration"),
        (['head'], r'ptq=\[.*is no policy: use ptq=dict'),
        (dict(rules=EIGHT), 'ptq.rules=.*: use a list'),
        (dict(rules=['head']), "ptq.rules holds 'head': a rule is a dict"),
        (dict(calibration=5), 'ptq.calibration=5: use a dict'),
    ],
)
def test_bad_policies(policy, message):
    with pytest.raises(QuantizationError, match=message):
        apply_policy(dict(ptq=policy))
