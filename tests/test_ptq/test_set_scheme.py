"""Plan and quantizers change together after the plan is made."""

import pytest
import torch
from helpers import QUANTIZER
from torch import nn

import mmptq
from mmptq.ptq import Calibrator, PTQContext, Stage
from mmptq.ptq.run import prepare_model
from mmptq.ptq.set_scheme import detach, set_scheme
from mmptq.quantization import QScheme, QuantizationError
from mmptq.quantization.limits import SchemeLimits
from mmptq.report import read_record


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 20, 1)
    return nn.Sequential(*layers).eval()


def batches():
    return [torch.linspace(-1, 2, 48).view(1, 3, 4, 4)]


@pytest.fixture
def ctx(tmp_path):
    rules = [dict(name='3', act=None)]
    ctx = PTQContext(net(), batches(), tmp_path, seed=0)
    prepare_model(ctx, dict(QUANTIZER, rules=rules))
    Calibrator().run(ctx)
    return ctx


def test_only_the_changed_grid_loses_its_range(ctx):
    layer, plan = ctx.model[0], ctx.plan.layers[0]
    scale = layer.input_quantizer.scale.clone()
    ctx.stage = '1-MixedPrecision'
    set_scheme(ctx, '0', weight=dict(bits=4))
    expected = QScheme(4, symmetric=True, signed=True, narrow=True, channel_axis=0)
    assert plan.weight == layer.weight_quantizer.scheme == expected
    assert plan.reason == 'set by MixedPrecision'
    assert not layer.weight_quantizer.calibrated
    assert layer.weight_quantizer.scale.shape == (16,)
    assert torch.equal(layer.input_quantizer.scale, scale)
    Calibrator().run(ctx)
    bound = layer.weight.detach().abs().amax((1, 2, 3))
    torch.testing.assert_close(layer.weight_quantizer.scale, bound / 7)


def test_the_same_scheme_changes_nothing(ctx):
    quantizer, reason = ctx.model[0].weight_quantizer, ctx.plan.layers[0].reason
    set_scheme(ctx, '0', weight=dict(bits=8), act=QScheme(8))
    assert ctx.model[0].weight_quantizer is quantizer
    assert ctx.plan.layers[0].reason == reason
    set_scheme(ctx, '0', weight=dict(bits=8), reason='8 bits suffice')
    assert ctx.plan.layers[0].reason == '8 bits suffice'


def test_float_and_quantized_slots(ctx):
    set_scheme(ctx, '0', act=None, reason='sensitive')
    assert isinstance(ctx.model[0].input_quantizer, nn.Identity)
    assert ctx.plan.layers[0].act is None and ctx.plan.layers[0].reason == 'sensitive'
    set_scheme(ctx, '3', act=dict(bits=16, per_channel=True))
    assert ctx.model[3].input_quantizer.scheme == QScheme(16, channel_axis=1)
    assert ctx.model[3].input_quantizer.scale.shape == (16,)


@torch.no_grad()
def test_a_detached_layer_is_the_float_one(ctx):
    x = batches()[0]
    weight, bias = ctx.model[0].weight, ctx.model[0].bias
    detach(ctx, '0')
    assert type(ctx.model[0]) is nn.Conv2d and list(ctx.layers) == ['3']
    assert not list(ctx.model[0].children())
    torch.testing.assert_close(ctx.model[0](x), nn.functional.conv2d(x, weight, bias))
    assert not ctx.plan.layers[0].quantized
    assert ctx.plan.layers[0].reason == 'set after the plan'
    detach(ctx, '0', 'again')
    assert ctx.plan.layers[0].reason == 'set after the plan'
    set_scheme(ctx, '0', weight=dict(bits=4, per_channel=True), act=dict(bits=4))
    assert list(ctx.layers) == ['3', '0']
    assert ctx.model[0].weight_quantizer.scheme == QScheme(4, channel_axis=0)
    assert not ctx.model[0].input_quantizer.calibrated


def test_both_float_is_detached(ctx):
    set_scheme(ctx, '0', weight=None, act=None)
    assert type(ctx.model[0]) is nn.Conv2d


def test_an_unused_quantizer_stays_off(ctx):
    ctx.model[0].weight_quantizer.enabled = False
    set_scheme(ctx, '0', weight=dict(bits=4), act=dict(bits=4))
    assert not ctx.model[0].weight_quantizer.enabled
    assert ctx.model[0].input_quantizer.enabled


def test_what_does_not_fit_changes_nothing(ctx):
    with pytest.raises(QuantizationError, match="'4' matches no layer: the closest is '[03]'"):
        set_scheme(ctx, '4', weight=None)
    with pytest.raises(QuantizationError, match="unknown key 'bit'"):
        set_scheme(ctx, '0', weight=dict(bit=4))
    with pytest.raises(QuantizationError, match='channel_axis=1: use 0'):
        set_scheme(ctx, '0', weight=QScheme(channel_axis=1))
    ctx.limits = SchemeLimits(name='npu', act_bits=(8,))
    with pytest.raises(QuantizationError, match="'0' has 4 bits, and npu runs activations of 8"):
        set_scheme(ctx, '0', weight=dict(bits=4), act=dict(bits=4))
    assert ctx.plan.layers[0].weight.bits == ctx.model[0].weight_quantizer.scheme.bits == 8


class Halve(Stage):
    """Half of the bits for the first layer, the last one float."""

    def run(self, ctx):
        set_scheme(ctx, '0', weight=dict(bits=4))
        detach(ctx, '3', 'a head')


def test_a_run_saves_and_reports_what_stages_changed(tmp_path):
    recipe = [dict(type='Calibrator'), Halve(), dict(type='Calibrator')]
    model = mmptq.quantize(net(), batches(), recipe=recipe, work_dir=tmp_path)
    rows = read_record(tmp_path, 'coverage')
    assert [(row['weight'], row['note']) for row in rows] == [
        ('int4 sym narrow per-channel', '+ 1; set by Halve'),
        ('float', 'a head'),
    ]
    loaded = mmptq.load(net(), tmp_path / 'quantized.pth')
    assert type(loaded[3]) is nn.Conv2d
    x = batches()[0]
    assert torch.equal(loaded(x), model(x))
    assert len(loaded[0].weight.unique()) <= 16 * 15


def test_a_grid_that_nothing_calibrated_again_is_refused(tmp_path):
    recipe = [dict(type='Calibrator'), Halve()]
    with pytest.raises(QuantizationError, match="no stage calibrated '0'"):
        mmptq.quantize(net(), batches(), recipe=recipe)


def test_limits_are_checked_after_the_stages(tmp_path):
    class Sneaky(Stage):
        def run(self, ctx):
            ctx.plan.layers[0].act = QScheme(4)

    recipe = [dict(type='Calibrator'), Sneaky()]
    with pytest.raises(QuantizationError, match="'0' has 4 bits, and npu runs activations of 8"):
        mmptq.quantize(net(), batches(), recipe=recipe, backend=dict(name='npu'))


def test_a_weight_that_an_embedding_owns_is_refused(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mix = nn.Embedding(8, 4), nn.Linear(4, 4)
            self.scores = nn.Linear(4, 8)
            self.scores.weight = self.table.weight

        def forward(self, x):
            return self.scores(self.mix(self.table(x)))

    ctx = PTQContext(Tied().eval(), [torch.arange(8)[None]], tmp_path, seed=0)
    prepare_model(ctx, QUANTIZER)
    with pytest.raises(QuantizationError, match="'scores' .* its weight is shared with table"):
        set_scheme(ctx, 'scores', weight=dict(bits=8))
    assert list(ctx.layers) == ['mix'] and type(ctx.model.scores) is nn.Linear
