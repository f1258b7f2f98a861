"""Policies of the lane models: what is quantized, and how, whatever scheme and recipe."""

import copy
from pathlib import Path

import pytest
import torch
from helpers import ROOT, ptq_settings
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

import mmptq  # noqa: F401
from mmptq.ptq.policy import apply_policy
from mmptq.quantization import make_plan
from mmptq.utils.cli import base_config

# Layers that give the raw outputs of the heads.
HEAD_OUTPUTS = dict(
    bezierlanenet_r18={'lane_head.classify', 'lane_head.regress'},
    clrnet_r18={'lane_head.classify', 'lane_head.locate', 'lane_head.offset'},
    condlanenet_r18={
        'lane_head.heatmap.2',
        'lane_head.kernels.2',
        'lane_head.feature_convs.2.conv',
    },
    enet_sad={'lane_head.decoder.classify', 'lane_head.existence.output'},
    ganet_r18={'lane_head.heatmap.2', 'lane_head.offset.2', 'lane_head.compensation.2'},
    laneatt_r18={'lane_head.cls', 'lane_head.reg'},
    scnn_r18={'lane_head.decoder.classify', 'lane_head.existence.output'},
)

# Parts of decoding with weights, and learned lines.
UNSUPPORTED = dict(
    clrnet_r18={'lane_head.priors': 'Embedding'},
    condlanenet_r18={'lane_head.row_range': 'RowRange.hidden_weight'},
)


def demo(name: str) -> Path:
    return ROOT / f'configs/demo/{name}_demo-lane.py'


@pytest.fixture(scope='module', params=sorted(HEAD_OUTPUTS))
def detector(request, tiny_lanes):
    """Name, config file and model of a demo lane model, and one image."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(demo(request.param))
    cfg.val_dataloader.dataset.data_root = str(tiny_lanes)
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    data = model.data_preprocessor(pseudo_collate([dataset[0]]), False)
    return request.param, demo(request.param), model, data


@pytest.mark.parametrize('scheme', ['int8', 'w4a4'])
def test_layers_of_a_scheme(detector, scheme):
    name, path, model, data = detector
    quantizer = ptq_settings(path, scheme, 'minmax').quantizer

    @torch.no_grad()
    def predict():
        model(**copy.deepcopy(data), mode='predict')

    plan = make_plan(model, quantizer, predict)
    assert plan.unsupported == UNSUPPORTED.get(name, {})
    quantized = {item.name: item for item in plan.layers if item.quantized}
    idle = {item.name for item in plan.layers} - set(quantized)
    assert all(layer.startswith('lane_head.mask_head.') for layer in idle)
    eight = {item.name for item in quantized.values() if item.weight.bits == item.act.bits == 8}
    if scheme == 'int8':
        assert eight == set(quantized)
    else:
        first = next(iter(quantized))
        assert eight == HEAD_OUTPUTS[name] | {first}
        assert all(
            item.weight.bits == item.act.bits == 4
            for item in quantized.values()
            if item.name not in eight
        )


@pytest.mark.parametrize('model', ['bezierlanenet_r18', 'clrnet_r18'])
@pytest.mark.parametrize('recipe', ['adaround', 'brecq', 'qdrop'])
def test_heads_that_are_reconstructed_layer_by_layer(recipe, model):
    """Their scores would drown control points, lines and offsets in one common loss."""
    stages = ptq_settings(demo(model), 'w4a4', recipe).stages
    calibrator, *learned = base_config('recipe', recipe).stages
    units = [dict(name='lane_head', granularity='layer')]
    assert stages == [calibrator, *(dict(stage, units=units) for stage in learned)]


def test_bezierlanenet_with_eight_bits_in_its_head():
    wide = Config.fromfile(ROOT / 'configs/qdrop/bezierlanenet_r18_qdrop_w4a4-head8_demo-lane.py')
    apply_policy(wide)
    usual = ptq_settings(demo('bezierlanenet_r18'), 'w4a4', 'qdrop')
    assert wide.stages == usual.stages
    more = [rule for rule in wide.quantizer.rules if rule not in usual.quantizer.rules]
    assert [rule.name for rule in more] == ['lane_head.hidden.*']
    assert more[0].weight.bits == more[0].act.bits == 8


def test_a_leaf_gives_what_the_command_line_gives():
    for path in sorted((ROOT / 'configs/mse').glob('*_demo-lane.py')):
        leaf = Config.fromfile(path)
        apply_policy(leaf)
        model = path.stem.removesuffix('_mse_int8_demo-lane')
        other = ptq_settings(demo(model), 'int8', 'mse')
        assert (leaf.quantizer, leaf.stages) == (other.quantizer, other.stages)
        assert leaf.load_from.endswith(f'demo/checkpoints/{model}_demo-lane.pth')


@pytest.mark.parametrize(('scheme', 'count'), [('int8', 1), ('w4a8', 2), ('w2a4', 2)])
def test_float_layers_of_lstr(scheme, count):
    cfg = ptq_settings(ROOT / 'configs/lane/lstr_r18s_tusimple-frames.py', scheme, 'mse')
    floats = [rule.name for rule in cfg.quantizer.rules if 'name' in rule]
    assert floats == ['lane_head.specific_embed.*', 'lane_head.shared_embed.*'][:count]
    assert cfg.calibration.num_samples == 10
