"""Channels are evened out and the network computes what it did."""

import pytest
import torch
from reconstruction import W4A4, BasicBlock, ToyDetector, images, toy_context
from torch import nn

from mmptq.ptq import Calibrator, CrossLayerEqualization, PTQContext
from mmptq.ptq.run import prepare_model
from mmptq.quantization import QuantizationError, quantizers_off


class UnevenDetector(ToyDetector):
    """Channels of the two blocks differ by factors of up to 100."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        factors = torch.logspace(-1, 1, 8)
        with torch.no_grad():
            for block in self.blocks:
                block.conv1.weight.mul_(factors.view(-1, 1, 1, 1))
                block.conv1.bias.mul_(factors)
                block.conv2.weight.div_(factors.view(1, -1, 1, 1))


class SquareBlock(BasicBlock):
    """Squares its features where torch's dispatcher does not see it."""

    def forward(self, x):
        x = super().forward(x)
        with torch.utils._python_dispatch._disable_current_modes():
            return torch.from_numpy(x.detach().numpy() ** 2)


@torch.no_grad()
def outputs(ctx):
    return [x for data in ctx.loader for level in ctx.predict(data) for x in level]


def float_outputs(ctx):
    with quantizers_off(ctx.model):
        return outputs(ctx)


def inputs_of(ctx, layer):
    inputs = []
    handle = layer.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
    float_outputs(ctx)
    handle.remove()
    return inputs


def error(ctx, expected):
    return sum((a - b).pow(2).sum() for a, b in zip(outputs(ctx), expected, strict=True))


def test_outputs_stay_and_quantize_better(tmp_path):
    plain, ctx = (toy_context(tmp_path / name, UnevenDetector()) for name in ('a', 'b'))
    ctx.model.load_state_dict(plain.model.state_dict())
    expected = float_outputs(plain)
    CrossLayerEqualization().run(ctx)
    for a, b in zip(float_outputs(ctx), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    observer = dict(type='LpObserver', p=2.0)
    for each in (plain, ctx):
        Calibrator(observer, observer).run(each)
    assert error(ctx, expected) < 0.5 * error(plain, expected)


def test_even_factors_for_each_end_of_alpha(tmp_path):
    for alpha in (0.0, 1.0):
        ctx = toy_context(tmp_path / str(alpha), UnevenDetector())
        CrossLayerEqualization(alpha=alpha, limit=1000).run(ctx)
        block = ctx.model.blocks[0]
        inputs = inputs_of(ctx, block.conv2)
        if alpha == 1:
            maxima = torch.stack([x.abs().amax((0, 2, 3)) for x in inputs]).mean(0)
        else:
            maxima = block.conv2.weight.detach().abs().amax((0, 2, 3))
        maxima = maxima[maxima > 0]
        torch.testing.assert_close(maxima, maxima[:1].expand_as(maxima), rtol=1e-3, atol=0)


def test_what_cannot_be_seen_is_left_alone(tmp_path):
    model = ToyDetector()
    model.blocks[0] = SquareBlock(8)
    ctx = toy_context(tmp_path, model)
    expected = float_outputs(ctx)
    before = {name: value.clone() for name, value in ctx.model.state_dict().items()}
    CrossLayerEqualization().run(ctx)
    for a, b in zip(float_outputs(ctx), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert torch.equal(before['stem.0.weight'], ctx.model.stem[0].weight)
    assert not torch.equal(before['blocks.1.conv2.weight'], ctx.model.blocks[1].conv2.weight)


def test_dead_channels_keep_their_numbers(tmp_path):
    model = ToyDetector()
    with torch.no_grad():
        model.blocks[0].conv1.weight[2] = 0
        model.blocks[0].conv1.bias[2] = -1
    ctx = toy_context(tmp_path, model)
    expected = float_outputs(ctx)
    CrossLayerEqualization().run(ctx)
    assert model.blocks[0].conv1.bias[2] == -1
    for a, b in zip(float_outputs(ctx), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('options', [dict(alpha=1.5), dict(limit=0.5)])
def test_bad_options(options):
    with pytest.raises(QuantizationError, match='CrossLayerEqualization got'):
        CrossLayerEqualization(**options)


def test_layer_classes_are_those_that_can_be_scaled():
    from mmptq.quantization.graph.channel_groups import writes_channels

    assert writes_channels(nn.Conv2d(4, 4, 3)) and writes_channels(nn.Conv2d(4, 4, 3, groups=4))
    assert not writes_channels(nn.Conv2d(4, 4, 3, groups=2))
    assert not writes_channels(nn.Conv2d(4, 8, 3, groups=4))


class RareReader(ToyDetector):
    """A second branch reads rows with a high score; on these samples there is none."""

    def __init__(self):
        super().__init__()
        self.first, self.rare = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, inputs, mode='predict', data_samples=None):
        x = self.blocks(self.stem(inputs))
        rows = self.first(x.flatten(2).transpose(1, 2)).relu()
        self.rare(rows[rows[..., 0] > 1e6])
        return self.bbox_head([x, x[..., ::2, ::2]])


def test_a_reader_without_rows(tmp_path):
    ctx = PTQContext(RareReader().eval(), [dict(inputs=x) for x in images()], tmp_path, seed=0)
    prepare_model(ctx, W4A4)
    before = ctx.model.rare.weight.clone()
    CrossLayerEqualization().run(ctx)
    assert torch.equal(ctx.model.rare.weight, before)
