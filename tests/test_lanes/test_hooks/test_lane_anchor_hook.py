"""Anchors are chosen before training, once."""

from types import SimpleNamespace

import pytest
import torch
from lane_overfit import road_sample
from mmengine.registry import DefaultScope
from torch import nn

from mmptq.lanes.hooks import LaneAnchorHook
from mmptq.lanes.models.heads.anchor.lane_anchors import LaneAnchors

SAMPLES = [dict(data_samples=road_sample(lanes)) for lanes in ([[(30, 95), (30, 5)]], [])]


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


class CountingDataset(list):
    """Remembers what was asked for."""

    def __init__(self, items):
        super().__init__(items)
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


def make_runner(samples) -> SimpleNamespace:
    model = nn.Module()
    model.lane_head = nn.Module()
    generator = dict(
        type='LaneAnchorGenerator', lateral_origins=0, bottom_origins=5, bottom_angles=[90]
    )
    model.lane_head.anchors = LaneAnchors(generator, 2, 8, image_size=(160, 96), stride=32)
    model.lane_head.positive_distance = 12.0
    dataset = CountingDataset(samples)
    return SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=dataset))


def test_anchors_near_the_training_lanes_are_chosen_once():
    runner = make_runner(SAMPLES)
    LaneAnchorHook().before_train(runner)
    # Upright anchors at x = 160, 120, 80, 40 and 0: only 40 is within 24 of x = 30.
    anchors = runner.model.lane_head.anchors
    assert anchors.lanes().xs[:, 0].tolist()[0] == 40
    assert anchors.chosen
    assert runner.train_dataloader.dataset.asked == [0, 1]
    LaneAnchorHook().before_train(runner)
    assert len(runner.train_dataloader.dataset.asked) == 2


def test_number_of_images_is_limited():
    runner = make_runner(SAMPLES * 50)
    LaneAnchorHook(max_images=3).before_train(runner)
    assert runner.train_dataloader.dataset.asked == [0, 50, 99]
    assert torch.equal(runner.model.lane_head.anchors.chosen, torch.tensor(True))
