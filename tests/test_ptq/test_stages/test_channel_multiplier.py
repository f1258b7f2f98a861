"""Channels of a layer input get the range of one grid, and the network computes what it did."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from uneven_models import (
    OBSERVER,
    UnevenDetector,
    context,
    decibel,
    quantized,
    quantized_with_multiplier,
    uneven_inputs,
)

from mmptq.engine.checkpoint import read_checkpoint, save_quantized
from mmptq.engine.load_weights import load_quantized
from mmptq.ptq import BiasCorrection, Calibrator, ChannelMultiplier, build_stages
from mmptq.ptq.search.channel_grid import find_grid, sampled_rows
from mmptq.ptq.set_scheme import detach
from mmptq.quantization import QScheme, QuantizationError, coverage_rows, quantizers_off


@torch.no_grad()
def run(model):
    return [level for x in uneven_inputs() for level in model(x)]


def test_eight_bits_are_enough_with_it(tmp_path):
    expected = run(UnevenDetector())
    assert decibel(run(quantized(tmp_path / 'a').model), expected) < 25
    assert decibel(run(quantized_with_multiplier(tmp_path / 'b').model), expected) > 30


def test_with_quantizers_off_the_model_is_the_float_one(tmp_path):
    ctx = context(tmp_path, UnevenDetector())
    ChannelMultiplier().run(ctx)
    with quantizers_off(ctx.model):
        for a, b in zip(run(ctx.model), run(UnevenDetector()), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert [plan.name for plan in ctx.plan.layers if plan.multiplier] == ['backbone.depthwise']
    notes = {row['layer']: row['note'] for row in coverage_rows(ctx.plan)}
    assert notes['backbone.depthwise'] == 'channel multiplier'
    assert notes['backbone.pointwise'] == ''


def test_the_factors_of_one_sided_channels_by_hand():
    rows = torch.tensor([1.0, 4.0, 16.0, 0.0])[:, None] * torch.linspace(0, 1, 256)
    grid = find_grid(rows, QScheme(bits=8))
    assert grid.zero_point == 0
    torch.testing.assert_close(grid.steps, torch.tensor([1.0, 4.0, 16.0, 0.0]) / 255)
    assert grid.unused == 2  # 4, 2 and 0 bits
    torch.testing.assert_close(grid.factors(), torch.tensor([4.0, 1, 0.25, 1]))
    torch.testing.assert_close(grid.factors(0.5), torch.tensor([2.0, 1, 0.5, 1]))
    low, high = grid.ends(QScheme(bits=8), grid.factors())
    assert low == 0
    assert high == pytest.approx(4)


def test_rare_values_are_seen():
    x = torch.rand(1, 2, 64, 64)
    x[0, 1, 3, 5], x[0, 0, 7, 7] = 9.0, -2.0
    rows = sampled_rows(x, 1, 16, extremes=True)
    assert torch.equal(rows[:, :16], sampled_rows(x, 1, 16))
    assert rows.shape == (2, 18) and torch.equal(rows[:, :16], x.flatten(2)[0, :, ::256])
    assert rows[1].max() == 9 and rows[0].min() == -2
    assert sampled_rows(x[..., :0], 1, 16, extremes=True).shape == (2, 0)


def test_one_zero_point_suits_channels_with_different_lower_ends():
    ends = [(-1, 3), *[(-1, 99)] * 3]
    rows = torch.stack([torch.linspace(low, high, 500) for low, high in ends])
    grid = find_grid(rows, QScheme(bits=8))
    # A quarter of the levels suits the first channel, a hundredth the others.
    assert 255 / 100 < grid.zero_point < 255 / 4
    assert (grid.steps[1:] == grid.steps[1]).all()
    assert 4 / 255 <= grid.steps[0] < 99 / 255
    signed = find_grid(rows, QScheme(bits=8, symmetric=True, signed=True))
    assert signed.zero_point == 0
    torch.testing.assert_close(signed.steps, torch.tensor([3.0, 99, 99, 99]) / 127)


def test_a_lower_end_may_be_clipped_where_it_is_rare():
    rows = torch.linspace(0, 1, 1000).repeat(2, 1)
    rows[:, 0] = -0.001
    assert find_grid(rows, QScheme(bits=8)).zero_point == 0


def test_channels_of_zeros_keep_their_numbers(tmp_path):
    model = UnevenDetector(F.relu)
    with torch.no_grad():
        model.backbone.stem.weight[3] = 0
        model.backbone.stem.bias[3] = 0
    ctx = context(tmp_path, model)
    ChannelMultiplier().run(ctx)
    assert ctx.model.backbone.depthwise.input_multiplier[3] == 1
    with torch.no_grad():
        for p in model.backbone.stem.parameters():
            p.zero_()
    ChannelMultiplier().run(ctx)  # nothing is seen in any channel
    assert ctx.model.backbone.depthwise.input_multiplier is None


def test_even_channels_are_left_alone(tmp_path):
    model = UnevenDetector()
    model.backbone.stem = nn.Conv2d(3, 16, 3, padding=1)
    ctx = context(tmp_path, model)
    ChannelMultiplier().run(ctx)
    assert not any(plan.multiplier for plan in ctx.plan.layers)


def test_a_shared_weight_is_left_alone(tmp_path):
    model = UnevenDetector()
    model.backbone.pointwise = nn.Sequential(
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 8, 1)
    )
    model.backbone.pointwise[0].weight = model.backbone.depthwise.weight
    ctx = context(tmp_path, model)
    ChannelMultiplier(min_gain=0).run(ctx)
    assert not any(plan.multiplier for plan in ctx.plan.layers)


class Mixed(nn.Module):
    """Layers of all kinds on uneven channels; the first runs twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(12, 8, 2, 2)
        self.twofold = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.linear = nn.Linear(16, 4)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode='predict', data_samples=None):
        gains = torch.logspace(-1.5, 1.5, 8, device=inputs.device).view(-1, 1, 1)
        x = F.silu(self.stem(inputs) * gains)
        x = self.grouped(x) + self.grouped(x.flip(-1))
        x = F.silu(self.twofold(self.up(x * 0.1) * gains))
        return [self.linear(x.movedim(1, -1))]


def test_every_kind_of_layer_computes_what_it_did(tmp_path):
    expected = run(Mixed())
    ctx = context(tmp_path, Mixed())
    ChannelMultiplier(layers='*', alpha=1.0, min_gain=-1).run(ctx)
    names = {plan.name for plan in ctx.plan.layers if plan.multiplier}
    assert names == {'stem', 'grouped', 'up', 'twofold', 'linear'}
    with quantizers_off(ctx.model):
        for a, b in zip(run(ctx.model), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_output_error_decides_for_other_layers(tmp_path):
    expected = run(Mixed())
    results = []
    for layers in ((), '*'):
        ctx = context(tmp_path, Mixed())
        ChannelMultiplier(layers=layers).run(ctx)
        Calibrator(OBSERVER, OBSERVER).run(ctx)
        results.append(decibel(run(ctx.model), expected))
    assert ctx.model.grouped.input_multiplier is not None
    assert results[1] > results[0] + 1


def test_a_layer_that_becomes_float_again_has_its_weight_back(tmp_path):
    ctx = context(tmp_path, UnevenDetector())
    ChannelMultiplier().run(ctx)
    detach(ctx, 'backbone.depthwise')
    plan = next(plan for plan in ctx.plan.layers if plan.name == 'backbone.depthwise')
    assert not plan.multiplier
    torch.testing.assert_close(
        ctx.model.backbone.depthwise.weight, UnevenDetector().backbone.depthwise.weight
    )


def test_checkpoints_hold_the_factors(tmp_path):
    ctx = quantized(tmp_path, ChannelMultiplier(), BiasLast())
    save_quantized(ctx.model, ctx.plan, tmp_path / 'q.pth', {}, '')
    assert (
        'backbone.depthwise.input_multiplier' in read_checkpoint(tmp_path / 'q.pth')['state_dict']
    )
    loaded = load_quantized(UnevenDetector(), tmp_path / 'q.pth')
    for a, b in zip(run(loaded), run(ctx.model), strict=True):
        assert torch.equal(a, b)


class BiasLast:
    """Calibrates and corrects biases, so that later stages see a calibrated model."""

    def run(self, ctx):
        Calibrator(OBSERVER, OBSERVER).run(ctx)
        BiasCorrection().run(ctx)


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(QuantizationError, match='alpha=2: use a share'):
        ChannelMultiplier(alpha=2)
    with pytest.raises(QuantizationError, match='put ChannelMultiplier before Calibrator'):
        build_stages([dict(type='Calibrator'), dict(type='ChannelMultiplier')])
    ctx = context(tmp_path, UnevenDetector())
    with pytest.raises(QuantizationError, match="'nothing' matches no layer"):
        ChannelMultiplier(layers='nothing').run(ctx)
