"""Configs of the segmentation family: their parts fit each other, their input and their data."""

import pytest
import torch
from helpers import ROOT
from mmdet.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmptq  # noqa: F401

LEAVES = sorted(
    path
    for folder in ('lane', 'demo')
    for kind in ('enet', 'resa', 'scnn')
    for path in (ROOT / 'configs' / folder).glob(f'{kind}_*.py')
)


def input_size(pipeline: list[dict]) -> tuple[int, int]:
    """Height and width that a pipeline ends with."""
    return next(step['scale'] for step in pipeline if step['type'] == 'LaneResize')[::-1]


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_parts_fit(path):
    init_default_scope('mmdet')
    cfg = Config.fromfile(path)
    train_set = cfg.train_dataloader.dataset
    for data in (*train_set.get('datasets', [train_set]), cfg.test_dataloader.dataset):
        height, width = input_size(data.pipeline)
        for step in data.pipeline:
            TRANSFORMS.build(step)
    with torch.device('meta'):  # shapes only
        model = MODELS.build(cfg.model).eval()
        stages = model.backbone(torch.zeros(2, 3, height, width))
        outputs = model.lane_head(stages if model.neck is None else model.neck(stages))
    lanes = 6 if 'tusimple' in path.stem else 4
    assert outputs['exist'].shape == (2, lanes)
    assert outputs['seg'].shape[:2] == (2, lanes + 1)
    assert outputs['seg'].shape[-1] * height == outputs['seg'].shape[-2] * width
    if '_sad_' in path.stem:
        hook = HOOKS.build(cfg.custom_hooks[0])
        iterations = cfg.train_cfg.get('max_iters') or 2000 // 4 * cfg.train_cfg.max_epochs
        if 'scnn' in path.stem:
            iterations = 88880 // 20 * cfg.train_cfg.max_epochs
        assert hook.begin == pytest.approx(iterations * 2 / 3, abs=1)
        picked = [stages[index] for index in model.distillation.stages]
        assert len({feature.shape[-2:] for feature in picked[1:]}) == 1


def test_published_settings():
    cfg = Config.fromfile(ROOT / 'configs/lane/enet_sad_culane.py')
    assert cfg.train_cfg.max_iters == 60000 and cfg.custom_hooks[0].begin == 40000
    assert cfg.train_dataloader.batch_size == 12
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    assert cfg.model.distillation.loss_weight == cfg.model.lane_head.iou_weight == 0.1
    cfg = Config.fromfile(ROOT / 'configs/lane/resa_r34_tusimple.py')
    assert cfg.model.backbone.depth == 34 and cfg.model.neck.iterations == 5
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs == 88
