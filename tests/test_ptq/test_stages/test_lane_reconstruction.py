"""The shared recipes' stages run on lane detectors of every family."""

import copy

import pytest
import torch
from helpers import QUANTIZER
from lane_models import HEADS, build_lane_model, lane_batch, quantize_lane_model, raw_outputs

from mmptq.ptq import Distillation, Reconstructor
from mmptq.quantization import quantized_layers

FOUR_BITS = copy.deepcopy(QUANTIZER)
FOUR_BITS['weight']['bits'] = 4


@pytest.mark.parametrize('family', HEADS)
def test_blocks_are_reconstructed(family, tiny_lanes):
    importance = dict(type='FisherImportance')  # asks the family's adapter
    reconstructor = Reconstructor(importance=importance, num_iters=3, batch_size=1, act_lr=1e-4)
    outputs, weights = [], []
    for stages in ((), (reconstructor,)):
        model = build_lane_model(family)
        data = lane_batch(model, tiny_lanes, num_images=1)
        quantize_lane_model(family, model, data, FOUR_BITS, stages)
        outputs.append(raw_outputs(model, data))
        weights.append({name: layer.weight for name, layer in quantized_layers(model).items()})
    assert all(torch.isfinite(value).all() for value in outputs[1].values())
    learned = [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])]
    assert any(name.startswith('backbone.') for name in learned)
    for name, layer in quantized_layers(model).items():
        values = layer.weight.flatten(1) if layer.weight_axis == 0 else layer.weight
        assert len(values[0].unique()) <= 16, f'{name} is not on the grid'


@pytest.mark.parametrize('family', HEADS)
def test_family_is_distilled(family, tiny_lanes):
    model = build_lane_model(family)
    data = lane_batch(model, tiny_lanes, num_images=1)
    loss = dict(type='DetectionOutputLoss', score_thr=0.01)
    stage = Distillation(loss, num_iters=3, variants=dict())
    quantize_lane_model(family, model, data, FOUR_BITS, [stage])
    assert all(torch.isfinite(value).all() for value in raw_outputs(model, data).values())
