"""Suppression of close lanes, by hand."""

import torch

from mmptq.lanes.models.heads.anchor.lane_nms import lane_nms
from mmptq.lanes.models.heads.anchor.row_lanes import RowLanes


def lanes(xs, starts=None, lengths=None) -> RowLanes:
    """Vertical lanes on four rows."""
    xs = torch.tensor(xs, dtype=torch.float32)
    full = torch.zeros_like(xs)
    starts = full if starts is None else torch.tensor(starts, dtype=torch.float32)
    lengths = full + 4 if lengths is None else torch.tensor(lengths, dtype=torch.float32)
    return RowLanes(xs[:, None].expand(-1, 4), starts, lengths)


def test_the_best_of_close_lanes_is_kept():
    scores = torch.tensor([0.5, 0.9, 0.7, 0.6])
    assert lane_nms(lanes([0, 5, 30, 38]), scores, max_distance=10).tolist() == [1, 2]


def test_dropped_lanes_drop_nothing():
    # 8 is close to 0 and to 16, which are not close to each other.
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert lane_nms(lanes([0, 8, 16]), scores, max_distance=10).tolist() == [0, 2]


def test_the_limit_itself_is_far_enough():
    assert len(lane_nms(lanes([0, 10]), torch.tensor([0.9, 0.8]), max_distance=10)) == 2


def test_lanes_without_common_rows_are_both_kept():
    both = lanes([0, 0], starts=[0, 2], lengths=[2, 2])
    assert len(lane_nms(both, torch.tensor([0.9, 0.8]), max_distance=10)) == 2


def test_equal_scores_keep_the_order():
    assert lane_nms(lanes([0, 5, 30]), torch.ones(3), max_distance=10).tolist() == [0, 2]


def test_number_of_lanes():
    scores = torch.tensor([0.1, 0.3, 0.2])
    assert lane_nms(lanes([0, 50, 100]), scores, 10, max_kept=2).tolist() == [1, 2]
    assert lane_nms(lanes([]), torch.zeros(0), 10, max_kept=2).tolist() == []
