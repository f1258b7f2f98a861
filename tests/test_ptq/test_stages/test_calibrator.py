"""Observer results end up in the quantizers of the right layers."""

from pathlib import Path

import pytest
import torch
from helpers import QUANTIZER
from mmengine.logging import MMLogger
from torch import nn

from mmptq.ptq import Calibrator, PTQContext
from mmptq.ptq.run import prepare_model
from mmptq.quantization import QuantizationError


class Detector(nn.Module):
    """Two convolutions, the second one run on two levels as in RetinaNet's head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 1)
        self.head = nn.Conv2d(20, 2, 1)
        self.rare = nn.Linear(20, 2)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode):
        x = self.stem(inputs)
        if len(inputs) > 1:
            self.rare(x.mean((2, 3)))
        return self.head(x), self.head(2 * x[..., ::2])


def context(batches, rules=(), act=QUANTIZER['act']):
    MMLogger.get_instance('test_calibrator')
    torch.manual_seed(0)
    model = Detector().eval()
    ctx = PTQContext(model, [dict(inputs=x) for x in batches], Path(), seed=0)
    prepare_model(ctx, dict(QUANTIZER, act=act, rules=list(rules)))
    return ctx


@torch.no_grad()
def test_ranges_over_batches_and_calls():
    batches = [torch.rand(2, 3, 4, 4) * k - 0.3 for k in (1, 4, 2)]
    ctx = context(batches)
    model = ctx.model
    x = [nn.functional.conv2d(b, model.stem.weight, model.stem.bias) for b in batches]
    low = min(min(v.min(), 2 * v[..., ::2].min()) for v in x)
    high = max(max(v.max(), 2 * v[..., ::2].max()) for v in x)
    Calibrator().run(ctx)
    torch.testing.assert_close(model.head.input_quantizer.scale, ((high - low) / 255).view(1))
    bound = model.head.weight.abs().amax((1, 2, 3))
    torch.testing.assert_close(model.head.weight_quantizer.scale, bound / 127)
    assert (model.head.weight_quantizer.zero_point == 0).all()
    assert all(m.calibrated for m in model.modules() if hasattr(m, 'calibrated'))


def test_layer_without_data_stays_float():
    ctx = context([torch.randn(2, 3, 4, 4)])
    ctx.loader = [dict(inputs=torch.randn(1, 3, 4, 4))]
    Calibrator().run(ctx)
    assert not any(m._forward_pre_hooks for m in ctx.model.modules())
    assert list(ctx.layers) == ['stem', 'head']
    assert type(ctx.model.rare) is nn.Linear
    (plan,) = [plan for plan in ctx.plan.layers if plan.name == 'rare']
    assert (plan.weight, plan.act) == (None, None)
    assert plan.reason == 'received no calibration data'


def test_nothing_but_layers_without_data():
    rules = [dict(name=name, weight=None, act=None) for name in ('stem', 'head')]
    ctx = context([torch.randn(2, 3, 4, 4)], rules)
    ctx.loader = [dict(inputs=torch.randn(1, 3, 4, 4))]
    with pytest.raises(QuantizationError, match="'rare' received no calibration data.*no other"):
        Calibrator().run(ctx)


def test_float_slots_are_left_alone():
    ctx = context([torch.randn(2, 3, 4, 4)], [dict(name='rare', weight=None, act=None)])
    assert list(ctx.layers) == ['stem', 'head']
    Calibrator().run(ctx)


def test_unit_settings_reach_the_observer():
    results = []
    for p in (1.0, 4.0):
        ctx = context([torch.randn(2, 3, 64, 64).pow(3)])
        ctx.layers['stem'].p = p
        Calibrator(act_observer=dict(type='LpObserver', p=2.0)).run(ctx)
        results.append(ctx.model.stem.input_quantizer.scale.item())
    assert results[0] < results[1]


def test_non_finite_values_name_the_layer():
    ctx = context([torch.randn(2, 3, 4, 4)])
    ctx.model.head.weight.data[0] = float('nan')
    with pytest.raises(QuantizationError, match="the weight of 'head'"):
        Calibrator().run(ctx)


def test_unknown_observer_is_refused_at_once():
    with pytest.raises(QuantizationError, match="no observer 'Nope': use one of .*MinMaxObserver"):
        Calibrator(act_observer=dict(type='Nope'))


@pytest.mark.parametrize(
    ('scheme', 'warns'), [(dict(symmetric=True, signed=False), True), ({}, False)]
)
def test_clipped_negatives_are_reported(scheme, warns, caplog):
    ctx = context([torch.full((1, 3, 4, 4), -2.0)], act=dict(bits=8, **scheme))
    logger = ctx.logger
    logger.addHandler(caplog.handler)
    try:
        Calibrator().run(ctx)
    finally:
        logger.removeHandler(caplog.handler)
    text = "the unsigned symmetric input of 'stem' clips negative values, down to -2, to 0"
    assert (text in caplog.text) is warns
