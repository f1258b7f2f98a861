"""Block errors against a plain implementation of AdaRound and QDrop, on the same data."""

import pytest
import torch
from reconstruction import BasicBlock, images, toy_context
from torch import nn

from mmptq.ptq import Reconstructor
from mmptq.quantization import quantized_layers, quantizers_off

STEPS, BATCH = 150, 3


class OneBlock(nn.Module):
    """Nothing but a block, so that its input is the same, quantized prefix or not."""

    def __init__(self):
        super().__init__()
        self.block = BasicBlock(12)

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, mode='predict'):
        return self.block(inputs)


class Textbook(nn.Module):
    """One convolution with V and a learned step size, written down as in the papers."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        q = layer.weight_quantizer
        self.s, self.z = q.scale.view(-1, 1, 1, 1), q.zero_point.view(-1, 1, 1, 1)
        rest = layer.weight.detach() / self.s - (layer.weight.detach() / self.s).floor()
        self.v = nn.Parameter(-torch.log(1.2 / (rest + 0.1) - 1))
        self.act_log = nn.Parameter(layer.input_quantizer.scale.log())
        self.act_z = layer.input_quantizer.zero_point

    def h(self):
        return (self.v.sigmoid() * 1.2 - 0.1).clamp(0, 1)

    def forward(self, x, hard=False, drop=0.0):
        h = (self.v >= 0).float() if hard else self.h()
        w = ((self.layer.weight.detach() / self.s).floor() + h + self.z).clamp(0, 15)
        w = (w - self.z) * self.s
        act_s = self.act_log.exp()
        x_int = x / act_s
        x_int = (x_int.round() - x_int).detach() + x_int + self.act_z
        y = (x_int.clamp(0, 15) - self.act_z) * act_s
        y = torch.where(torch.rand_like(x) < drop, x, y)
        return nn.functional.conv2d(y, w, self.layer.bias.detach(), padding=1)


def textbook_loss(block, data, targets, drop, act_lr):
    convs = [Textbook(block.conv1), Textbook(block.conv2)]

    def run(x, **options):
        return (convs[1](convs[0](x, **options).relu(), **options) + x).relu()

    def loss_of(index, **options):
        return (run(data[index], **options) - targets[index]).square().sum(1).mean()

    rounding = torch.optim.Adam([c.v for c in convs], lr=0.1)
    scales = torch.optim.Adam([c.act_log for c in convs], lr=act_lr or 0.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(scales, STEPS)
    everything = torch.arange(len(data))
    start = loss_of(everything, hard=True).item()
    torch.manual_seed(0)
    for step in range(STEPS):
        loss = loss_of(torch.randperm(len(data))[:BATCH], drop=drop) / start
        progress = (step / STEPS - 0.2) / 0.8
        if progress >= 0:
            beta = 20 - 18 * progress
            fractions = torch.cat([c.h().flatten() for c in convs])
            loss = loss + 100 * (1 - (2 * fractions - 1).abs().pow(beta)).mean()
        rounding.zero_grad()
        scales.zero_grad()
        loss.backward()
        rounding.step()
        if act_lr:
            scales.step()
            cosine.step()
    with torch.no_grad():
        return loss_of(everything, hard=True).item()


@pytest.mark.parametrize(('drop', 'act_lr'), [(0.0, None), (0.5, 2e-3)], ids=['adaround', 'qdrop'])
def test_block_error_is_at_most_the_textbook_one(tmp_path, drop, act_lr):
    data = torch.cat(images(32)).view(8, 12, 12, 12)
    ctx = toy_context(tmp_path, OneBlock(), list(data.split(1)))
    block = ctx.model.block
    with torch.no_grad(), quantizers_off(ctx.model):
        targets = block(data.clone())

    @torch.no_grad()
    def error():
        return (block(data.clone()) - targets).square().sum(1).mean().item()

    before = error()
    reference = textbook_loss(block, data, targets, drop, act_lr)
    Reconstructor(num_iters=STEPS, batch_size=BATCH, drop_prob=drop, act_lr=act_lr).run(ctx)
    assert reference < 0.95 * before  # the reference is worth comparing with
    assert error() <= 1.05 * reference
    for layer in quantized_layers(ctx.model).values():
        assert layer.weight_quantizer.rounding is not None
