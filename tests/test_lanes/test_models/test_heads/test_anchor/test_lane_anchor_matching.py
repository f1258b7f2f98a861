"""Which anchors are positive, negative or neither."""

import torch

from mmptq.lanes.models.heads.anchor.lane_anchor_matching import match_lane_anchors
from mmptq.lanes.models.heads.anchor.row_lanes import RowLanes


def vertical(*xs) -> RowLanes:
    xs = torch.tensor(xs, dtype=torch.float32)
    return RowLanes(xs[:, None].expand(-1, 4), torch.zeros_like(xs), torch.full_like(xs, 4))


def test_near_between_and_far():
    anchors = vertical(0, 14, 17, 30, 95, 110)
    positive, negative, matched = match_lane_anchors(anchors, vertical(0, 100), 15, 20)
    assert positive.tolist() == [True, True, False, False, True, True]
    assert negative.tolist() == [False, False, False, True, False, False]
    assert matched[positive].tolist() == [0, 0, 1, 1]


def test_limits_belong_to_neither():
    positive, negative, _ = match_lane_anchors(vertical(0, 15, 20), vertical(0), 15, 20)
    assert positive.tolist() == [True, False, False]
    assert negative.tolist() == [False, False, False]


def test_without_lanes_all_are_background():
    positive, negative, matched = match_lane_anchors(vertical(0, 14), vertical(), 15, 20)
    assert not positive.any() and negative.all() and matched.tolist() == [0, 0]


def test_without_a_near_anchor_all_are_background():
    positive, negative, _ = match_lane_anchors(vertical(17, 50), vertical(0), 15, 20)
    assert not positive.any() and negative.all()


def test_only_common_rows_count():
    anchor = RowLanes(torch.tensor([[90.0, 0, 0, 0]]), torch.tensor([1.0]), torch.tensor([4.0]))
    target = RowLanes(torch.tensor([[0.0, 0, 12, 99]]), torch.tensor([0.0]), torch.tensor([3.0]))
    positive, _, _ = match_lane_anchors(anchor, target, 7, 20)
    assert positive.tolist() == [True]  # (0 + 12) / 2
