"""IoU of soft lane pixels, by hand."""

import pytest
import torch

from mmptq.lanes.models.losses.lane_iou_loss import lane_iou_loss


def test_by_hand():
    classes = torch.tensor([[[1, 0, 2]]])
    shares = torch.tensor([[0.5, 0.8, 0.1], [0.5, 0.1, 0.3], [0.0, 0.1, 0.6]]).view(1, 3, 1, 3)
    overlap, predicted, true = 0.5 + 0.6, 0.5 + 0.1 + 0.3 + 0.0 + 0.1 + 0.6, 2
    expected = 1 - overlap / (predicted + true - overlap)
    assert lane_iou_loss(shares, classes).item() == pytest.approx(expected)


def test_right_and_wrong():
    classes = torch.tensor([[[1, 0]], [[0, 0]]])
    right = torch.nn.functional.one_hot(classes, 2).movedim(-1, 1).float()
    assert lane_iou_loss(right, classes).item() == 0
    assert lane_iou_loss(1 - right, classes).item() == 1
    nothing = torch.zeros_like(classes)
    assert (
        lane_iou_loss(torch.ones(2, 2, 1, 2) * torch.tensor([1.0, 0]).view(1, 2, 1, 1), nothing)
        == 0
    )
