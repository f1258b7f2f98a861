"""Rotated 3D overlaps against answers worked out by hand and against mmdet3d."""

import math

import pytest
import torch

pytest.importorskip('mmdet3d')

from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402

from mmptq.evaluation import rotated_iou_3d  # noqa: E402


def overlap(box1, box2):
    return rotated_iou_3d(torch.tensor([box1]), torch.tensor([box2])).item()


def test_identical_boxes():
    box = [10.0, -3.0, -1.0, 4.0, 2.0, 1.5, 0.7]
    assert overlap(box, box) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize('yaw', [0.0, math.pi / 6, -2.0, math.pi / 2])
def test_half_shift_along_the_heading(yaw):
    # Moved by half the length along its own axis: 1/2 shared of 3/2. A wrong sign of the yaw
    # would give less, and so does mmcv alone, because edges lie on one line.
    box = [5.0, 5.0, 0.0, 4.0, 2.0, 1.0, yaw]
    moved = [5.0 + 2 * math.cos(yaw), 5.0 + 2 * math.sin(yaw), 0.0, 4.0, 2.0, 1.0, yaw]
    assert overlap(box, moved) == pytest.approx(1 / 3, abs=1e-3)


def test_height_overlap_counts():
    # z is the bottom: 1 m of 2 m is shared.
    assert overlap([0, 0, 0, 2, 2, 2, 0.3], [0, 0, 1.0, 2, 2, 2, 0.3]) == pytest.approx(
        1 / 3, abs=1e-3
    )
    assert overlap([0, 0, 0, 2, 2, 2, 0.3], [0, 0, 2.0, 2, 2, 2, 0.3]) == 0


def test_crossed_boxes_of_different_height():
    # 4 x 2 across 2 x 4 share 2 x 2; heights 1 and 3 share 1: 4 / (8 + 24 - 4).
    assert overlap([0, 0, 0, 4, 2, 1, 0], [0, 0, 0, 4, 2, 3, math.pi / 2]) == pytest.approx(
        4 / 28, abs=1e-3
    )


def test_agrees_with_mmdet3d_on_random_boxes():
    generator = torch.Generator().manual_seed(0)
    low = torch.tensor([0, 0, -2, 1, 1, 1, -3.1])
    high = torch.tensor([6, 6, 0, 5, 3, 3, 3.1])
    boxes1 = low + (high - low) * torch.rand(40, 7, generator=generator)
    boxes2 = low + (high - low) * torch.rand(30, 7, generator=generator)
    expected = LiDARInstance3DBoxes.overlaps(
        LiDARInstance3DBoxes(boxes1), LiDARInstance3DBoxes(boxes2)
    )
    assert expected.max() > 0.3
    # 1200 random pairs, hardly any of them parallel.
    torch.testing.assert_close(rotated_iou_3d(boxes1, boxes2), expected, atol=1e-5, rtol=1e-4)


def test_columns_beyond_the_seventh_are_velocities_and_ignored():
    boxes = torch.tensor([[1.0, 2, 0, 4, 2, 1, 0.2, 9, -9]])
    assert rotated_iou_3d(boxes, boxes[:, :7]).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, 1e30])
def test_broken_boxes_overlap_nothing(value):
    good = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])
    broken = good.clone().repeat(7, 1)
    broken[range(7), range(7)] = value
    ious = rotated_iou_3d(torch.cat([broken, good]), good)
    assert torch.equal(ious[:7], torch.zeros(7, 1))
    assert ious[7].item() == pytest.approx(1, abs=1e-3)


def test_boxes_without_volume_overlap_nothing():
    flat = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0], [0, 0, 0, -1, 2, 1, 0], [0, 0, 0, 4, 2, 0, 0]])
    good = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])
    assert rotated_iou_3d(flat, good).max() < 1e-3


def test_empty_sides():
    boxes = torch.zeros(3, 7)
    assert rotated_iou_3d(boxes[:0], boxes).shape == (0, 3)
    assert rotated_iou_3d(boxes, boxes[:0]).shape == (3, 0)
