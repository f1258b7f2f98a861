"""Boxes get the velocity columns that CenterHead trains on."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet3d')

from mmdet3d.registry import TRANSFORMS  # noqa: E402
from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402

import mmptq.datasets  # noqa: E402, F401

BOXES = torch.tensor([[1.0, 2, 3, 4, 5, 6, 0.5], [7, 8, 9, 1, 2, 3, -0.5]])


def append(ann_info):
    results = dict(gt_bboxes_3d=LiDARInstance3DBoxes(BOXES.clone()), ann_info=ann_info)
    return TRANSFORMS.build(dict(type='AppendBoxVelocity'))(results)['gt_bboxes_3d']


def test_velocity_follows_the_seven_numbers():
    boxes = append(dict(velocities=np.array([[1, -1], [np.nan, 2]], dtype=np.float32)))
    assert isinstance(boxes, LiDARInstance3DBoxes)
    assert torch.equal(boxes.tensor[:, :7], BOXES)
    assert boxes.tensor[:, 7:].tolist() == [[1, -1], [0, 2]]


def test_boxes_without_velocity_get_zero():
    assert append({}).tensor[:, 7:].tolist() == [[0, 0], [0, 0]]


def test_later_rotation_turns_the_velocity():
    boxes = append(dict(velocities=np.array([[1.0, 0], [0, 1]], dtype=np.float32)))
    boxes.rotate(torch.tensor(np.pi / 2))
    torch.testing.assert_close(
        boxes.tensor[:, 7:], torch.tensor([[0.0, 1], [-1, 0]]), atol=1e-6, rtol=0
    )


def test_no_objects():
    results = dict(
        gt_bboxes_3d=LiDARInstance3DBoxes(BOXES[:0]),
        ann_info=dict(velocities=np.zeros((0, 2), dtype=np.float32)),
    )
    boxes = TRANSFORMS.build(dict(type='AppendBoxVelocity'))(results)['gt_bboxes_3d']
    assert boxes.tensor.shape == (0, 9)


def test_wrong_place_in_the_pipeline_is_named():
    with pytest.raises(KeyError, match='after LoadAnnotations3D'):
        TRANSFORMS.build(dict(type='AppendBoxVelocity'))(dict(ann_info={}))
