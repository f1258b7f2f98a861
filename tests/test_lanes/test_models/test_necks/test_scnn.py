"""Passes of SCNN and shifts of RESA, by hand."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmptq.lanes.models import RESA, SCNN
from mmptq.lanes.models.necks.scnn import pass_messages


@pytest.fixture(autouse=True)
def scope():
    DefaultScope.get_instance('lanes', scope_name='mmdet')


def times(factor: float) -> nn.Conv2d:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(conv.weight, factor)
    return conv


def test_rows_add_up_on_the_way():
    x = torch.tensor([1.0, 0, 0, 2]).view(1, 1, 4, 1)
    down = pass_messages(x, times(0.5), dim=2, backward=False)
    assert down.flatten().tolist() == [1, 0.5, 0.25, 2.125]
    up = pass_messages(x, times(0.5), dim=2, backward=True)
    assert up.flatten().tolist() == [1.25, 0.5, 1, 2]
    right = pass_messages(x.mT, times(-1.0), dim=3, backward=False)
    assert right.flatten().tolist() == [1, 0, 0, 2]  # messages are rectified


def test_scnn_reaches_from_corner_to_corner():
    neck = SCNN(in_channels=2, channels=4, kernel_size=3).eval()
    neck.init_weights()
    for conv in (neck.down, neck.up, neck.right, neck.left):
        nn.init.constant_(conv.weight, 0.1)
    x = torch.zeros(1, 2, 5, 6)
    before = neck([x])[0]
    x[..., 0, 0] = 1
    neck.reduce.conv.weight.data.abs_()
    after = neck([x])[0]
    assert after.shape == (1, 4, 5, 6) and ((after - before)[0, :, -1, -1] > 0).all()


def test_resa_shifts_by_halves():
    neck = RESA(in_channels=1, channels=1, iterations=2, alpha=1.0, kernel_size=1)
    for parameter in neck.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(neck.reduce.weight, 1.0)
    x = torch.zeros(1, 1, 4, 1)
    x[0, 0, 0] = 1
    for index, expected in enumerate(([1, 0, 0, 1], [1, 0, 1, 0])):  # shifts of 1 and 2 rows
        for conv in neck.passes['down']:
            nn.init.constant_(conv.weight, 0.0)
        nn.init.constant_(neck.passes['down'][index].weight, 1.0)
        assert neck([x])[0].flatten().tolist() == expected


def test_passes_start_small():
    neck = SCNN(in_channels=8, channels=16)
    neck.init_weights()
    assert neck.down.weight.abs().max() <= (2 / (16 * 9 * 5)) ** 0.5
