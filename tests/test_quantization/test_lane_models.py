"""Lane detectors of every family: layers found, BatchNorms folded, quantized, rebuilt."""

import copy
from fnmatch import fnmatchcase

import pytest
import torch
from helpers import QUANTIZER
from lane_models import (
    HEADS,
    UNUSED,
    build_lane_model,
    lane_batch,
    quantize_lane_model,
    raw_outputs,
)

from mmptq.quantization import QuantPlan, make_plan, quantized_layers, rebuild
from mmptq.quantization.placement import BUILT_IN

# The layers whose outputs are the head's raw outputs.
LAST = dict(
    bezier={'lane_head.classify', 'lane_head.regress'},
    # Later stages go on from "locate".
    clr={'lane_head.classify', 'lane_head.offset'},
    condlane={'lane_head.heatmap.2', 'lane_head.kernels.2', 'lane_head.feature_convs.2.conv'},
    ganet={'lane_head.heatmap.2', 'lane_head.offset.2', 'lane_head.compensation.2'},
    laneatt={'lane_head.cls', 'lane_head.reg'},
    lstr={
        'lane_head.class_embed',
        'lane_head.specific_embed.layers.2',
        'lane_head.shared_embed.layers.2',
    },
    segmentation={'lane_head.decoder.classify', 'lane_head.existence.output'},
)


@pytest.fixture(scope='module', params=HEADS)
def case(request, tiny_lanes):
    """Family, float model, quantized model, its plan and a batch."""
    family = request.param
    model = build_lane_model(family)
    data = lane_batch(model, tiny_lanes)
    rules = [dict(role='last', weight=dict(bits=7), reason='last')]
    float_model = copy.deepcopy(model)
    plan = quantize_lane_model(family, model, data, QUANTIZER | dict(rules=rules))
    return family, float_model, model, plan, data


def test_every_convolution_and_linear_layer_that_runs_is_quantized(case):
    family, float_model, model, plan, _ = case
    unused = {item.name for item in plan.layers if item.reason == 'unused'}
    assert bool(unused) == (family in UNUSED)
    expected = {
        name
        for name, module in float_model.named_modules()
        if getattr(module, 'weight', None) is not None
        and module.weight.dim() > 1
        and not isinstance(module, torch.nn.Embedding)
    }
    positions = {item.name for item in plan.layers if item.reason == BUILT_IN[0]['reason']}
    assert bool(positions) == (family == 'lstr')
    assert set(quantized_layers(model)) == expected - unused - positions
    assert {item.name for item in plan.layers if item.reason == 'last'} == LAST[family]


def test_batch_norms_are_folded(case):
    family, _, model, plan, _ = case
    unused = UNUSED.get(family, '')
    assert all(fnmatchcase(name, unused) for name in plan.unfolded)
    norms = [name for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(fnmatchcase(name, unused) for name in norms)


def test_rebuilt_from_plain_data(case):
    family, _, model, plan, data = case
    again = build_lane_model(family)
    rebuild(again, QuantPlan.from_dict(plan.to_dict()))
    again.load_state_dict(model.state_dict(), strict=True)
    expected, got = raw_outputs(model, data), raw_outputs(again.eval(), data)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=0)


def test_quantized_outputs_stay_near_the_float_ones(case):
    _, float_model, model, _, data = case
    for name, value in raw_outputs(float_model, data).items():
        got = raw_outputs(model, data)[name]
        assert not torch.equal(got, value), name
        assert (got - value).norm() < 0.35 * value.norm(), name


@pytest.mark.parametrize(
    ('family', 'products'),
    [
        ('laneatt', {'lane_head': 1}),
        ('clr', {'lane_head.gather': 2}),
        ('condlane', {'neck.attention.0': 2, 'neck.attention.1': 2}),
        ('bezier', {}),
    ],
)
def test_products_of_two_activations(family, products, tiny_lanes):
    model = build_lane_model(family)
    data = lane_batch(model, tiny_lanes, 1)
    quantizer = dict(QUANTIZER, products=dict(bits=8))
    plan = make_plan(model, quantizer, lambda: raw_outputs(model, data))
    assert {name: item.count for name, item in plan.products.items()} == products
