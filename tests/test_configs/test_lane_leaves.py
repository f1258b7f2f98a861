"""Leaves of the demo lane models: what they quantize, on the models they are for."""

import copy

import pytest
import torch
from helpers import ROOT
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

import mmptq  # noqa: F401
from mmptq.quantization import make_plan

# Layers that give the raw outputs of the heads.
HEAD_OUTPUTS = dict(
    bezierlanenet_r18={'lane_head.classify', 'lane_head.regress'},
    enet_sad={'lane_head.decoder.classify', 'lane_head.existence.output'},
    ganet_r18={'lane_head.heatmap.2', 'lane_head.offset.2', 'lane_head.compensation.2'},
    laneatt_r18={'lane_head.cls', 'lane_head.reg'},
    scnn_r18={'lane_head.decoder.classify', 'lane_head.existence.output'},
)
RECIPES = {'minmax', 'mse', 'adaround', 'brecq', 'qdrop'}


@pytest.fixture(scope='module', params=sorted(HEAD_OUTPUTS))
def detector(request, tiny_lanes):
    """Name, config and model of a demo lane model, and one image."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / f'configs/demo/{request.param}_demo-lane.py')
    cfg.val_dataloader.dataset.data_root = str(tiny_lanes)
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    data = model.data_preprocessor(pseudo_collate([dataset[0]]), False)
    return request.param, cfg, model, data


@pytest.mark.parametrize('scheme', ['int8', 'w4a4'])
def test_leaves_of_a_model(detector, scheme):
    name, cfg, model, data = detector
    leaves = sorted((ROOT / 'configs').glob(f'*/{name}_*_{scheme}_demo-lane.py'))
    assert {leaf.parent.name for leaf in leaves} >= RECIPES
    configs = [Config.fromfile(leaf) for leaf in leaves]
    for leaf, config in zip(leaves, configs, strict=True):
        assert config.model == cfg.model
        assert config.train_cfg.type == 'PTQLoop' and config.stages
        assert config.quantizer == configs[0].quantizer, leaf
        assert config.load_from.endswith(f'demo/checkpoints/{name}_demo-lane.pth')

    @torch.no_grad()
    def predict():
        model(**copy.deepcopy(data), mode='predict')

    plan = make_plan(model, configs[0].quantizer, predict)
    assert not plan.unsupported
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


@pytest.mark.parametrize('recipe', ['brecq', 'qdrop'])
def test_the_head_of_bezierlanenet_is_reconstructed_layer_by_layer(recipe):
    """Its scores would drown its control points in one common loss."""
    for scheme in ('int8', 'w4a4'):
        leaf = ROOT / f'configs/{recipe}/bezierlanenet_r18_{recipe}_{scheme}_demo-lane.py'
        stages = Config.fromfile(leaf).stages[1:]
        assert stages == [
            dict(stage, units=[dict(name='lane_head', granularity='layer')])
            for stage in Config.fromfile(ROOT / f'configs/_base_/recipes/{recipe}.py').stages[1:]
        ]


def test_bezierlanenet_with_eight_bits_in_its_head():
    folder = ROOT / 'configs/qdrop'
    wide = Config.fromfile(folder / 'bezierlanenet_r18_qdrop_w4a4-head8_demo-lane.py')
    usual = Config.fromfile(folder / 'bezierlanenet_r18_qdrop_w4a4_demo-lane.py')
    assert wide.stages == usual.stages
    more = [rule for rule in wide.quantizer.rules if rule not in usual.quantizer.rules]
    assert [rule.name for rule in more] == ['lane_head.hidden.*']
    assert more[0].weight.bits == more[0].act.bits == 8
