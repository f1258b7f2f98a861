"""Mean outputs become those of the float model."""

import pytest
import torch
from reconstruction import ToyDetector, toy_context
from torch import nn

from mmptq.ptq import BiasCorrection
from mmptq.ptq.stages.bias_correction import mean_outputs
from mmptq.quantization import QuantizationError, quantized_layers, quantizers_off


@torch.no_grad()
def means(ctx):
    layers = quantized_layers(ctx.model)
    found = mean_outputs(layers.values(), [lambda d=d: ctx.predict(d) for d in ctx.loader])
    return {name: found[layer] for name, layer in layers.items()}


def test_means_are_those_of_the_float_model(tmp_path):
    ctx = toy_context(tmp_path)
    with quantizers_off(ctx.model):
        expected = means(ctx)
    before = means(ctx)
    BiasCorrection().run(ctx)
    after = means(ctx)
    for name, target in expected.items():
        torch.testing.assert_close(after[name], target, atol=1e-5, rtol=1e-4)
    assert any((before[name] - expected[name]).abs().max() > 1e-3 for name in expected)


def test_mean_by_hand():
    layer = nn.Conv2d(1, 2, 1)
    layer.channel_axis = 1
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        layer.bias.zero_()
        runs = [lambda: layer(torch.ones(1, 1, 1, 3)), lambda: layer(torch.full((1, 1, 1, 1), 5.0))]
        result = mean_outputs([layer], runs)[layer]
    assert result.tolist() == [2.0, 4.0]


def test_layers_without_bias_are_left_alone(tmp_path):
    model = ToyDetector()
    model.bbox_head.scores = nn.Conv2d(8, 3, 1, bias=False)
    ctx = toy_context(tmp_path, model)
    names = set(model.state_dict())
    BiasCorrection(num_samples=2).run(ctx)
    assert set(model.state_dict()) == names


def test_a_model_without_any_bias(tmp_path):
    model = ToyDetector()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = None
    ctx = toy_context(tmp_path, model)
    BiasCorrection().run(ctx)
    (record,) = [r for r in ctx.run_record.records if r['kind'] == 'bias_correction']
    assert record['rows'] == []


def test_bad_options():
    with pytest.raises(QuantizationError, match='num_samples=0'):
        BiasCorrection(num_samples=0)
