"""Line IoU, by hand and against its sums over rows."""

import pytest
import torch

from mmptq.lanes.models import LineIoULoss
from mmptq.lanes.models.losses.line_iou_loss import line_distances, line_iou


def test_distances_count_rows_of_the_true_lane():
    xs = torch.tensor([[0.0, 10, 20], [1.0, 1, 1]])
    truth = torch.tensor([[2.0, 14, 99], [1.0, 1, 1]])
    shown = torch.tensor([[True, True, False], [False, False, False]])
    assert line_distances(xs, truth, shown).tolist() == [3, 0]
    assert line_distances(xs[:, None], truth[:1], shown[:1]).tolist() == [[3], [7]]


@pytest.mark.parametrize(('distance', 'iou'), [(0, 1), (10, 0.5), (30, 0), (90, -0.5)])
def test_iou_by_hand(distance, iou):
    assert line_iou(torch.tensor(float(distance)), 15.0).item() == iou


def test_iou_is_that_of_the_sums_over_rows():
    torch.manual_seed(0)
    xs, truth = 40 * torch.rand(5, 7), 40 * torch.rand(5, 7)
    shown = torch.rand(5, 7) > 0.3
    shared = torch.minimum(xs, truth) + 4 - (torch.maximum(xs, truth) - 4)
    covered = torch.maximum(xs, truth) + 4 - (torch.minimum(xs, truth) - 4)
    expected = (shared * shown).sum(1) / (covered * shown).sum(1)
    torch.testing.assert_close(line_iou(line_distances(xs, truth, shown), 4.0), expected)


def test_loss_is_a_mean_over_lanes():
    xs = torch.tensor([[0.0, 0], [10.0, 10]])
    shown = torch.ones(2, 2, dtype=torch.bool)
    loss = LineIoULoss(radius=15.0, loss_weight=2.0)
    assert loss(xs, torch.zeros(2, 2), shown).item() == 2 * (0 + 0.5) / 2
    assert loss(xs[:0], xs[:0], shown[:0]).item() == 0
