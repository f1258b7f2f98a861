"""mmdet's stock detectors: layers found, BatchNorms folded, rebuilt from plain data."""

import copy

import pytest
import torch
from helpers import QUANTIZER
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import nn

from mmptq.quantization import (
    QUANT_LAYERS,
    QuantPlan,
    apply_plan,
    make_plan,
    quantized_layers,
    quantizers_off,
    rebuild,
)
from mmptq.quantization.graph.split_attention import split_attention
from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.placement import BUILT_IN, place, roles_of

# config, its head outputs, BatchNorms that cannot be folded
DETECTORS = [
    ('retinanet/retinanet_r18_fpn_1x_coco', {'bbox_head.retina_cls', 'bbox_head.retina_reg'}, 0),
    (
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
        {
            'rpn_head.rpn_cls',
            'rpn_head.rpn_reg',
            'roi_head.bbox_head.fc_cls',
            'roi_head.bbox_head.fc_reg',
        },
        0,
    ),
    (  # deformable convolutions, GroupNorm in the head
        'fcos/fcos_r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco',
        {'bbox_head.conv_cls', 'bbox_head.conv_reg', 'bbox_head.conv_centerness'},
        0,
    ),
    (  # one convolution with a BatchNorm per level
        'rtmdet/rtmdet_tiny_8xb32-300e_coco',
        {f'bbox_head.rtm_{branch}.{level}' for branch in ('cls', 'reg') for level in range(3)},
        12,
    ),
    (
        'yolox/yolox_nano_8xb8-300e_coco',
        {
            f'bbox_head.multi_level_conv_{branch}.{level}'
            for branch in ('cls', 'reg', 'obj')
            for level in range(3)
        },
        0,
    ),
    ('detr/detr_r50_8xb2-150e_coco', {'bbox_head.fc_cls', 'bbox_head.fc_reg'}, 0),
]


def without_downloads(cfg: Config) -> Config:
    cfg.model.backbone.init_cfg = None
    return cfg.model


def build(cfg: Config) -> nn.Module:
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg))  # a head may change its config
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def head_inputs(model: nn.Module, data: dict) -> list[torch.Tensor]:
    """Multi-level features, the last thing that does not depend on discontinuous choices."""
    features = model.extract_feat(data['inputs'])
    return list(features)


@pytest.mark.parametrize(
    ('name', 'outputs', 'unfolded'), DETECTORS, ids=[row[0].split('/')[0] for row in DETECTORS]
)
@torch.no_grad()
def test_plan_fold_and_rebuild(name, outputs, unfolded):
    cfg = without_downloads(get_config(f'mmdet::{name}.py'))
    model = build(cfg)
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 96, 128]]), False)
    expected = head_inputs(model, data)
    split_attention(model)
    trace = trace_layers(model, tuple(QUANT_LAYERS), lambda: model(**data, mode='predict'))
    modules = dict(model.named_modules())
    plans = place(model, QUANTIZER, trace)
    planned = {plan.name for plan in plans if plan.quantized}
    last = {n for n in planned if 'last' in roles_of(modules[n], trace.layers.get(n))}
    assert last == outputs

    plan = make_plan(model, QUANTIZER, lambda: model(**data, mode='predict'))
    assert len(plan.unfolded) == unfolded
    assert all('shared by several' in reason for reason in plan.unfolded.values())
    apply_plan(model, plan)
    assert set(quantized_layers(model)) == planned
    with quantizers_off(model):
        for got, want in zip(head_inputs(model, data), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
    again = build(cfg)
    rebuild(again, QuantPlan.from_dict(plan.to_dict()))
    again.load_state_dict(model.state_dict(), strict=True)


def test_projections_of_attention_are_layers():
    cfg = without_downloads(get_config('mmdet::detr/detr_r50_8xb2-150e_coco.py'))
    model = build(cfg)
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 64, 64]]), False)
    plan = make_plan(model, QUANTIZER, lambda: model(**data, mode='predict'))
    assert plan.unsupported == {'query_embedding': 'Embedding'}
    assert {layer.reason for layer in plan.layers if not layer.quantized} == {BUILT_IN[0]['reason']}
    projections = [layer for layer in plan.layers if '.attn.' in layer.name]
    assert len(projections) == 4 * (6 + 2 * 6)  # self-attention, and attention to the image
    kinds = [kind for kind, _ in plan.float_parts.values()]
    assert kinds.count('MultiheadAttention') == 6 + 2 * 6
    assert kinds.count('LayerNorm') == 2 * 6 + 3 * 6 + 1
