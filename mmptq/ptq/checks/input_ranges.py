"""What the quantizers of layer inputs do to them, and histograms of the worst."""

from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.quantization import FakeQuantizer, quantized_layers
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.seeds import seeded

# Calibration samples, and values of a layer input that are looked at in each of its calls.
NUM_SAMPLES = 4
NUM_VALUES = 2**13
NUM_CALLS = 16
NUM_BINS = 60
SHOWN = 6


class _Input:
    """Values of one layer input, before and after its quantizer."""

    def __init__(self):
        self.values: list[Tensor] = []
        self.noise = self.power = 0.0
        self.low, self.high = float('inf'), float('-inf')

    def update(self, x: Tensor, quantized: Tensor) -> None:
        if not x.numel() or len(self.values) >= NUM_CALLS:
            return
        self.low = min(self.low, x.min().item())
        self.high = max(self.high, x.max().item())
        step = max(1, x.numel() // NUM_VALUES)
        x, quantized = x.flatten()[::step].float(), quantized.flatten()[::step].float()
        self.noise += (x - quantized).double().square().sum().item()
        self.power += x.double().square().sum().item()
        self.values.append(x.cpu())


@torch.no_grad()
def input_ranges(ctx: PTQContext, num_samples: int = NUM_SAMPLES) -> list[dict[str, Any]]:
    """A row for each quantized layer input, the largest noise first.

    Args:
        ctx (PTQContext): Of a finished run.
        num_samples (int): Calibration samples. Defaults to 4.

    Returns:
        list[dict]: ``layer``; ``noise`` (squared error of the quantized input over its square);
        ``clipped`` (share of the values outside of the range); ``low`` and ``high`` of the range,
        None for several scales; ``smallest`` and ``largest`` value; for the worst layers with one
        scale ``counts`` (B,) of the values between ``edges`` (2,).
    """
    found, hooks = {}, {}
    for name, layer in quantized_layers(ctx.model).items():
        quantizer = layer.input_quantizer
        if isinstance(quantizer, FakeQuantizer) and quantizer not in hooks:
            found[name] = (_Input(), quantizer)
            hooks[quantizer] = _hook(found[name][0])
    positions = ctx.positions(num_samples)
    with temporary_hooks(after=hooks), seeded(ctx.seed, [device_of(ctx.model)]):
        for data in ctx.batches_at(positions):
            ctx.predict(data)
    rows = [_row(name, *pair) for name, pair in found.items() if pair[0].values]
    rows.sort(key=lambda row: -row['noise'])
    for row in [row for row in rows if row['low'] is not None][:SHOWN]:
        row.update(_histogram(found[row['layer']][0]))
    return rows


def _hook(kept: _Input):
    def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
        kept.update(args[0], output)

    return hook


def _row(name: str, kept: _Input, quantizer: FakeQuantizer) -> dict[str, Any]:
    row = dict(layer=name, noise=kept.noise / max(kept.power, 1e-30), clipped=None)
    row.update(low=None, high=None, smallest=kept.low, largest=kept.high)
    if quantizer.scale.numel() == 1:
        scheme, scale, zero = quantizer.scheme, quantizer.scale.item(), quantizer.zero_point.item()
        row['low'], row['high'] = ((end - zero) * scale for end in (scheme.qmin, scheme.qmax))
        outside = total = 0
        for values in kept.values:
            # Half a step belongs to the range: it is rounded, not clipped.
            inside = (values >= row['low'] - scale / 2) & (values <= row['high'] + scale / 2)
            outside, total = outside + int((~inside).sum()), total + len(values)
        row['clipped'] = outside / total
    return row


def _histogram(kept: _Input) -> dict[str, Any]:
    values = torch.cat(kept.values)
    values = values[values.isfinite()]
    low, high = kept.low, kept.high
    if not len(values) or not low < high:
        return {}
    return dict(counts=torch.histc(values, NUM_BINS, low, high).tolist(), edges=[low, high])
