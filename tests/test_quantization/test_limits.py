"""Limits of engines as data."""

import pytest

from mmptq.quantization import QScheme, QuantizationError
from mmptq.quantization.limits import SchemeLimits
from mmptq.quantization.placement import LayerPlan

LIMITS = SchemeLimits(
    'engine',
    weight=dict(symmetric=True, signed=True),
    act=dict(symmetric=True, signed=True),
    rules=[dict(role='few_channels', weight=None, act=None, reason='engine: few channels')],
)
WEIGHT = QScheme(8, symmetric=True, signed=True, channel_axis=0)
ACT = QScheme(8, symmetric=True, signed=True)


def test_scheme_is_fitted():
    quantizer = dict(
        weight=dict(bits=4, symmetric=False, signed=False, per_channel=True),
        act=dict(bits=8, symmetric=False),
        rules=[dict(role='first', weight=dict(bits=8)), dict(role='last', act=None)],
    )
    fitted = LIMITS.constrain(quantizer)
    assert fitted['weight'] == quantizer['weight']  # 4 bits fit into 8 with any zero point
    assert fitted['act'] == dict(bits=8, symmetric=True, signed=True)
    first, last, few = fitted['rules']
    assert first['weight'] == dict(bits=8, symmetric=True, signed=True, per_channel=True)
    assert last == dict(role='last', act=None)
    assert few['role'] == 'few_channels'
    assert quantizer['act'] == dict(bits=8, symmetric=False)  # the config is not touched


def test_inputs_get_all_levels_of_the_engine():
    quantizer = dict(
        weight=dict(bits=8, narrow=True),
        act=dict(bits=8, narrow=True),
        rules=[dict(role='last', act=dict(bits=8))],
    )
    fitted = LIMITS.constrain(quantizer)
    assert fitted['act']['narrow'] is fitted['rules'][0]['act']['narrow'] is False
    assert fitted['weight']['narrow'] is True


def test_bits_that_cannot_run():
    quantizer = dict(weight=dict(bits=8), act=dict(bits=4), rules=[])
    with pytest.raises(QuantizationError, match='quantizer.act has 4 bits, and engine runs'):
        LIMITS.constrain(quantizer)


def test_rules_may_be_for_layers_outside_of_the_engine():
    rules = [dict(name='a', act=dict(bits=16))]
    quantizer = dict(weight=dict(bits=8), act=dict(bits=8), rules=rules)
    first, _ = LIMITS.constrain(quantizer)['rules']
    assert first['act']['bits'] == 16


@pytest.mark.parametrize(
    ('weight', 'act', 'message'),
    [
        (WEIGHT, QScheme(8), "the input of 'conv' is uint8 asym .* symmetric=True: .*--backend"),
        (WEIGHT, QScheme(4, symmetric=True, signed=True), "'conv' has 4 bits, and engine runs"),
        (QScheme(8, channel_axis=0), ACT, "the weight of 'conv' is uint8 asym"),
        (WEIGHT, QScheme(8, True, True, channel_axis=1), 'one scale per channel'),
        (WEIGHT, QScheme(8, True, True, narrow=True), "'conv' leaves out a level .* all 256 lev"),
    ],
)
def test_layers_that_cannot_run(weight, act, message):
    with pytest.raises(QuantizationError, match=message):
        LIMITS.check([LayerPlan('conv', 'Conv2d', weight, act)])


def refusal(limits, weight, act) -> str | None:
    try:
        limits.check([LayerPlan('conv', 'Conv2d', weight, act)])
    except QuantizationError as error:
        return str(error)
    return None


def test_layers_that_can():
    four_bits = QScheme(4, symmetric=False, channel_axis=0)
    assert refusal(LIMITS, WEIGHT, ACT) is None
    assert refusal(LIMITS, four_bits, ACT) is None
    assert refusal(LIMITS, None, None) is None
    assert refusal(LIMITS, WEIGHT, four_bits) is not None
    unsigned = SchemeLimits('engine', act=dict(signed=False))
    assert refusal(unsigned, WEIGHT, QScheme(8)) is None
    assert refusal(unsigned, WEIGHT, QScheme(8, signed=True)) is not None


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(name='a', bits=4), "unknown key 'bits': use name, weight_bits, .* or export"),
        (dict(export=dict(engine='a')), "backend lacks 'name'"),
    ],
)
def test_bad_config(cfg, message):
    with pytest.raises(QuantizationError, match=message):
        SchemeLimits.from_config(cfg)


def test_layers_outside_of_the_engine_are_not_checked():
    limits = SchemeLimits('engine')
    wide = QScheme(16)
    limits.check_plan([LayerPlan('pts_middle_encoder.conv', 'SubMConv3d', WEIGHT, wide)])
    with pytest.raises(QuantizationError, match="'neck.conv' has 16 bits"):
        limits.check_plan([LayerPlan('neck.conv', 'Conv2d', WEIGHT, wide)])


def test_keys_of_the_export_are_left_to_the_export():
    limits = SchemeLimits.from_config(dict(name='a', act_bits=(4,), export=dict(anything=1)))
    assert limits == SchemeLimits('a', act_bits=(4,))


PRODUCTS = dict(bits=8, right=dict(symmetric=True, signed=True, narrow=True))


@pytest.mark.parametrize(
    ('backend', 'scheme', 'fitted'),
    [
        (None, None, None),
        (None, dict(bits=8), dict(bits=8, signed=False)),
        (dict(), None, dict(bits=8, signed=False)),
        (PRODUCTS, None, dict(PRODUCTS, signed=False)),
        (PRODUCTS, dict(bits=8, float=['a']), dict(PRODUCTS, signed=False, float=['a'])),
    ],
)
def test_products(backend, scheme, fitted):
    limits = SchemeLimits('engine', act=dict(signed=False), products=backend)
    quantizer = dict(weight=None, act=None, rules=[], products=scheme)
    assert limits.constrain(quantizer).get('products') == fitted


def test_products_in_bits_that_cannot_run():
    with pytest.raises(QuantizationError, match=r'quantizer\.products has 4 bits, and engine runs'):
        LIMITS.constrain(dict(weight=None, act=None, rules=[], products=dict(bits=4)))
