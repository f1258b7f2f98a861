"""Weight scales by the error of the output, against a brute force search."""

import pytest
import torch
from torch import nn

from mmptq.ptq.search.output_search import power, search_output
from mmptq.quantization import QScheme, choose_qparams
from mmptq.quantization.layers.registry import quant_type_of

FRACTIONS = torch.linspace(1, 0.2, 20, dtype=torch.float64)


def quantized(layer: nn.Module, per_channel: bool = True) -> nn.Module:
    layer.__class__ = quant_type_of(type(layer))
    axis = layer.weight_axis if per_channel else None
    layer.attach(QScheme(bits=3, channel_axis=axis), QScheme(bits=4))
    return layer


def brute_force(layer, calls, p):
    """Error (T, C) of every fraction, by hand."""
    rows = layer.weight.transpose(0, layer.weight_axis).flatten(1)
    quantizer = layer.weight_quantizer
    if quantizer.scheme.channel_axis is None:
        rows = rows.reshape(1, -1)
    low, high = rows.amin(1), rows.amax(1)
    errors = []
    for f in FRACTIONS:
        quantizer.set_qparams(*choose_qparams(f * low, f * high, quantizer.scheme))
        error = 0
        for (x,) in calls:
            layer.input_quantizer.enabled = False
            quantizer.enabled = False
            target = layer(x)
            quantizer.enabled = True
            e = (layer(x) - target).abs().pow(p).transpose(0, layer.channel_axis).flatten(1).mean(1)
            error = error + (e if len(low) > 1 else e.mean().view(1))
        errors.append(error)
    return torch.stack(errors)


LAYERS = [
    (lambda: nn.Conv2d(3, 5, 3, padding=1), True, [(2, 3, 6, 6), (2, 3, 3, 3)]),
    (lambda: nn.Conv2d(4, 4, 3, groups=4), True, [(1, 4, 8, 8)]),
    (lambda: nn.ConvTranspose2d(3, 5, 2, stride=2), True, [(1, 3, 4, 4)]),
    (lambda: nn.Linear(6, 4), True, [(7, 6)]),
    (lambda: nn.Linear(6, 4), False, [(2, 7, 6)]),
]


@pytest.mark.parametrize(('make', 'per_channel', 'shapes'), LAYERS)
@torch.no_grad()
def test_scales_have_the_least_error(make, per_channel, shapes):
    torch.manual_seed(0)
    layer = quantized(make(), per_channel)
    calls = [(torch.randn(shape),) for shape in shapes]
    layer.weight_quantizer.set_qparams(torch.tensor(0.5), torch.tensor(1))
    layer.weight_quantizer.enabled = False
    found = search_output(layer, calls, [1.0, 2.0, 4.0], FRACTIONS)
    assert not layer.weight_quantizer.enabled and layer.input_quantizer.enabled
    assert (layer.weight_quantizer.scale == 0.5).all()
    for p, (scale, zero_point) in found.items():
        errors = brute_force(layer, calls, p)
        rows = layer.weight.transpose(0, layer.weight_axis).flatten(1)
        rows = rows if per_channel else rows.reshape(1, -1)
        low, high = rows.amin(1), rows.amax(1)
        best = FRACTIONS[errors.argmin(0)]
        expected = choose_qparams(best * low, best * high, layer.weight_quantizer.scheme)
        torch.testing.assert_close((scale, zero_point), expected)


def test_levels_count_the_same():
    torch.manual_seed(0)
    layer = quantized(nn.Conv2d(2, 1, 1))
    large, small = (torch.randn(1, 2, 32, 32),), (100 * torch.randn(1, 2, 1, 1),)
    both = search_output(layer, [large, small], [2.0], FRACTIONS)[2.0]
    alone = search_output(layer, [small], [2.0], FRACTIONS)[2.0]
    torch.testing.assert_close(both, alone)  # a thousand small errors do not outvote it


def test_power():
    x = torch.tensor([0.0, 0.3, 1.0, 7.0])
    for p in (0.5, 1.0, 1.5, 2.0, 2.4, 3.0, 3.5, 4.0, 6.0, 9.0):
        torch.testing.assert_close(power(x, p), x.pow(p))
