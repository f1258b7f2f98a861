"""LaneDetector between backbone, neck, head and the stock loops."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from torch import nn

from mmptq.lanes.models import LaneHead


@MODELS.register_module()
class OneLaneHead(LaneHead):
    """Predicts a straight lane at the mean of the features."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, feats):
        return dict(x=self.scale * feats[-1].mean(dim=(1, 2, 3)))

    def loss_by_output(self, outputs, data_samples):
        wanted = torch.tensor([float(len(sample.gt_lanes)) for sample in data_samples])
        return dict(loss_x=(outputs['x'] - wanted).square().mean())

    def decode(self, outputs, data_samples):
        return [[torch.stack([x, x.new_tensor(5.0)])[None].expand(2, 2)] for x in outputs['x']]


@MODELS.register_module()
class Stages(nn.Module):
    """Two stages: the image, and its negative."""

    def forward(self, images):
        return images, -images


@MODELS.register_module()
class KeepLast(nn.Module):
    def forward(self, stages):
        return (10 * stages[-1],)


@MODELS.register_module()
class StageSum(nn.Module):
    enabled = False

    def forward(self, stages):
        return sum(stage.sum() for stage in stages) + 3


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def build(**parts):
    return MODELS.build(
        dict(
            type='LaneDetector',
            data_preprocessor=dict(type='DetDataPreprocessor'),
            backbone=dict(type='Stages'),
            lane_head=dict(type='OneLaneHead'),
            **parts,
        )
    )


def batch() -> dict:
    samples = []
    for lanes in ([], [torch.zeros(2, 2)]):
        sample = DetDataSample(
            metainfo=dict(homography_matrix=np.diag([0.5, 0.5, 1.0]), img_shape=(4, 6))
        )
        sample.gt_lanes = lanes
        samples.append(sample)
    return dict(
        inputs=[torch.full((3, 4, 6), v, dtype=torch.uint8) for v in (2, 4)], data_samples=samples
    )


def test_lanes_come_in_original_pixels():
    samples = build().test_step(batch())
    lanes = [sample.pred_lanes[0].tolist() for sample in samples]
    assert lanes == [[[-4, 10], [-4, 10]], [[-8, 10], [-8, 10]]]


def test_raw_outputs_pass_the_neck():
    model = build(neck=dict(type='KeepLast'))
    outputs = model(torch.ones(2, 3, 4, 6), mode='tensor')
    assert outputs['x'].tolist() == [-10, -10]


def test_losses_with_and_without_distillation():
    model = build(distillation=dict(type='StageSum'))
    data = model.data_preprocessor(batch(), True)
    losses = model(**data, mode='loss')
    assert {name: loss.item() for name, loss in losses.items()} == dict(loss_x=(4 + 25) / 2)
    model.distillation.enabled = True
    assert model(**data, mode='loss')['loss_distillation'].item() == 3
