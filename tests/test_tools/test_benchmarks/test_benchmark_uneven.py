"""Rewritten networks compute what they computed."""

import pytest
import torch
from helpers import run_tool
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from uneven import FACTORS, Detour, scale_channels


def detector():
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='RetinaNet',
            backbone=dict(type='ResNet', depth=18, base_channels=4, out_indices=(1, 2)),
            neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
            bbox_head=dict(
                type='RetinaHead',
                num_classes=2,
                in_channels=8,
                stacked_convs=1,
                feat_channels=8,
                anchor_generator=dict(
                    type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8, 16]
                ),
                bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            ),
            test_cfg=ConfigDict(
                nms_pre=10, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=5
            ),
        )
    )
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize('kind', ['uneven', 'one', 'tiny', 'huge'])
def test_scaled_channels(kind):
    model, image = detector(), torch.rand(1, 3, 64, 64)
    before = model(image, mode='tensor')
    weight = model.backbone.layer1[0].conv2.weight.clone()
    names = scale_channels(model, image, FACTORS[kind])
    assert 'backbone.layer1.0.conv2' in names and 'bbox_head.retina_cls' in names
    assert not torch.equal(model.backbone.layer1[0].conv2.weight, weight)
    for levels, others in zip(before, model(image, mode='tensor'), strict=True):
        for level, other in zip(levels, others, strict=True):
            torch.testing.assert_close(other, level, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize('act', ['SiLU', 'GELU', 'Hardswish'])
def test_a_detour_is_the_identity(act):
    x = torch.randn(1, 6, 8, 8)
    detour = Detour(6, act, torch.logspace(-2, 2, 6))
    torch.testing.assert_close(detour(x), x, rtol=1e-4, atol=1e-4)


def test_names_are_checked(capsys):
    with pytest.raises(SystemExit, match="no case 'nothing': use one of retinanet-plain"):
        run_tool('benchmark_uneven', 'nothing')
    run_tool('benchmark_uneven', '--list')
    assert 'atss-uneven' in capsys.readouterr().out
