"""Configs of LSTR and BezierLaneNet: models train and predict, data are as published."""

import numpy as np
import pytest
import torch
from helpers import ROOT
from lane_overfit import road_batch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope

import mmptq  # noqa: F401

CONFIGS = {
    # batch size, input size, most lanes
    'lstr_r18s_culane': (16, (820, 295), 4),
    'lstr_r18s_tusimple': (16, (640, 360), 7),
    'bezierlanenet_r18_culane': (20, (800, 288), 4),
    'bezierlanenet_r34_culane': (20, (800, 288), 4),
    'bezierlanenet_r18_tusimple': (20, (640, 360), 5),
    'bezierlanenet_r34_tusimple': (20, (640, 360), 5),
}


@pytest.fixture(params=CONFIGS)
def config(request):
    init_default_scope('mmdet')
    return request.param, Config.fromfile(ROOT / f'configs/lane/{request.param}.py')


def test_model_trains_and_predicts(config):
    model = MODELS.build(config[1].model).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-6))
    losses = model.train_step(road_batch(), optimizer)
    assert all(np.isfinite(value.item()) for value in losses.values())
    model.eval()
    with torch.no_grad():
        samples = model.test_step(road_batch())
    assert all(isinstance(sample.pred_lanes, list) for sample in samples)


def test_data_as_published(config):
    name, cfg = config
    batch, size, most = CONFIGS[name]
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.model.lane_head.get('max_lanes', 7) == most
    train = cfg.train_dataloader.dataset
    for dataset in (
        *train.get('datasets', [train]),
        *(cfg[f'{s}_dataloader'].dataset for s in ('val', 'test')),
    ):
        steps = {step.type: step for step in dataset.pipeline}
        assert tuple(steps['LaneResize'].scale) == size
        assert 'LaneCropTop' not in steps
    if 'tusimple' in name:
        days = [dataset.ann_file for dataset in train.datasets]
        assert days == [f'label_data_{day}.json' for day in ('0313', '0531', '0601')]
