"""The search for remedies on tiny networks: what it mends, what it leaves alone."""

import pytest
import torch
from helpers import QUANTIZER
from torch import nn

from mmptq.ptq import AutoTuner, PTQContext
from mmptq.ptq.run import finish_model, prepare_model
from mmptq.ptq.search.output_loss import OutputLoss
from mmptq.ptq.stages.calibrator import Calibrator
from mmptq.quantization import QuantizationError
from mmptq.quantization.limits import SchemeLimits
from mmptq.report import read_record

MSE = dict(type='LpObserver', p=2.0)


class DepthwiseNet(nn.Module):
    """A depthwise convolution behind a SiLU, with channel ranges of 1 to 1000."""

    def __init__(self, channels=16):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.last = nn.Conv2d(channels, 8, 1)
        gains = torch.logspace(0, 3, channels).view(-1, 1, 1, 1)
        with torch.no_grad():
            self.stem.weight.mul_(gains)
            self.depthwise.weight.div_(gains)

    def forward(self, x):
        return self.last(self.depthwise(nn.functional.silu(self.stem(x))))


def calibrated(model, batches, folder, quantizer=QUANTIZER, limits=None):
    ctx = PTQContext(model.eval(), batches, folder, seed=0, limits=limits)
    prepare_model(ctx, quantizer)
    Calibrator(MSE, MSE, warn=False).run(ctx)
    return ctx


def images(count=4):
    return [torch.randn(1, 3, 16, 16) for _ in range(count)]


def test_a_depthwise_net_with_uneven_channels_is_mended(tmp_path):
    ctx = calibrated(DepthwiseNet(), images(), tmp_path)
    with OutputLoss(ctx) as loss:
        before = loss().mean().item()
        AutoTuner().run(ctx)
        after = loss().mean().item()
    assert before > 0.01 > 0.001 > after
    found = read_record(tmp_path, 'auto')
    assert found['before'] == pytest.approx(before) and found['after'] == pytest.approx(after)
    assert found['steps'][0]['remedy'] == 'channel multiplier' and found['steps'][0]['kept']
    assert 'depthwise' in found['steps'][0]['layers']
    plan = next(plan for plan in ctx.plan.layers if plan.name == 'depthwise')
    assert plan.reason == 'auto: channel multiplier' and plan.multiplier
    assert all(state.module.input_quantizer.scale.numel() == 1 for state in ctx.layers.values())
    row = next(row for row in read_record(tmp_path, 'diagnosis') if row['layer'] == 'depthwise')
    assert row['cause'] == 'depthwise' and row['ratio'] > 10
    finish_model(ctx)


def test_nothing_is_changed_where_8_bits_are_enough(tmp_path):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    ctx = calibrated(model, [torch.randn(100, 8)], tmp_path)
    before = {key: value.clone() for key, value in ctx.model.state_dict().items()}
    AutoTuner().run(ctx)
    after = ctx.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert read_record(tmp_path, 'auto')['steps'] == []


def points():
    return [torch.rand(400, 4) * torch.tensor([10.0, 10.0, 0.1, 0.1]) for _ in range(2)]


def point_net():
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.Linear(32, 16))
    with torch.no_grad():
        model[0].weight[:, :2] /= 50
    return model


@pytest.mark.parametrize('backend', [False, True])
def test_raw_points_get_more_bits_or_stay_float(tmp_path, backend):
    limits = SchemeLimits('npu') if backend else None
    quantizer = dict(QUANTIZER, weight=None)
    ctx = calibrated(point_net(), points(), tmp_path, quantizer, limits)
    # Nothing but more bits is at hand.
    AutoTuner(remedies=('more_bits',)).run(ctx)
    plan = ctx.plan.layers[0]
    assert plan.reason == 'auto: points'
    if backend:
        assert not plan.quantized
    else:
        assert plan.act.bits == 16 and plan.weight is None
    assert ctx.plan.layers[1].act.bits == 8
    found = read_record(tmp_path, 'auto')
    assert found['after'] < found['before'] / 2
    finish_model(ctx)


def test_four_bits_become_eight_first(tmp_path):
    quantizer = dict(QUANTIZER, weight=dict(QUANTIZER['weight'], bits=4))
    layers = [layer for _ in range(8) for layer in (nn.Linear(8, 8), nn.SELU())]
    ctx = calibrated(nn.Sequential(*layers), [torch.randn(100, 8)], tmp_path, quantizer)
    AutoTuner(target=1e-3, remedies=('more_bits',)).run(ctx)
    assert {plan.weight.bits for plan in ctx.plan.layers} <= {4, 8}
    assert any(plan.weight.bits == 8 for plan in ctx.plan.layers)
    assert all(plan.act.bits == 8 for plan in ctx.plan.layers)
    finish_model(ctx)


def test_weights_of_four_bits_get_the_range_that_suits_the_output(tmp_path):
    quantizer = dict(QUANTIZER, weight=dict(QUANTIZER['weight'], bits=4))
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    # A column of zeros has the largest weight, which decides about the range of the weight alone.
    x = torch.randn(400, 32)
    x[:, 0] = 0.0
    with torch.no_grad():
        model[0].weight[:, 0] = 1.0
    ctx = calibrated(model, [x], tmp_path, quantizer)
    before = ctx.layers['0'].module.weight_quantizer.scale.clone()
    AutoTuner(remedies=('ranges',)).run(ctx)
    found = read_record(tmp_path, 'auto')
    assert found['steps'][0]['remedy'] == 'weight range by the error of the output'
    assert found['steps'][0]['kept'] and found['after'] < found['before'] / 2
    assert (ctx.layers['0'].module.weight_quantizer.scale < before / 2).all()
    finish_model(ctx)


class Text(DepthwiseNet):
    def forward(self, x):
        return str(super().forward(x).sum())


class ChosenRows(DepthwiseNet):
    def forward(self, x):
        y = super().forward(x)
        return y[y > 0]


@pytest.mark.parametrize(
    ('odd', 'why'), [(Text, 'hold no numbers'), (ChosenRows, 'have other rows')]
)
def test_a_model_whose_outputs_cannot_be_compared(tmp_path, odd, why):
    ctx = calibrated(odd(), images(), tmp_path)
    warnings = []
    ctx.logger.warning = warnings.append
    try:
        AutoTuner().run(ctx)
    finally:
        del ctx.logger.warning
    assert warnings[-1].startswith('the search for remedies ends, because the outputs')
    assert why in warnings[-1]
    finish_model(ctx)


@pytest.mark.parametrize('settings', [dict(target=-1), dict(num_samples=0), dict(remedies=['x'])])
def test_bad_settings(settings):
    with pytest.raises(QuantizationError, match='AutoTuner got'):
        AutoTuner(**settings)
