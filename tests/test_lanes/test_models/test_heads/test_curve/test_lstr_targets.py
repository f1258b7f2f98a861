import pytest
import torch
from lane_overfit import road_sample

from mmptq.lanes.models.heads.curve.lstr_targets import encode, row_weights

ROWS = torch.arange(9) / 8  # 0, 12, ... 96 pixels


def test_targets_by_hand():
    targets = encode(road_sample([[(32, 90), (80, 42)], [(8, 60), (8, 55)]]), ROWS)
    assert targets.bottoms.tolist() == pytest.approx([90 / 96, 60 / 96])
    assert targets.tops.tolist() == pytest.approx([42 / 96, 55 / 96])
    assert targets.valid.tolist() == [
        [False] * 4 + [True] * 4 + [False],
        [False] * 5 + [True] + [False] * 3,
    ]
    # At y = 48, 60, 72, 84 the first lane is at x = 122 - y; the second stands at 8.
    assert (targets.xs[0, 4:8] * 160).tolist() == pytest.approx([74, 62, 50, 38])
    assert (targets.xs[1] * 160).tolist() == [0] * 5 + [8] + [0] * 3
    assert len(targets) == 2


def test_no_lanes():
    targets = encode(road_sample([]), ROWS)
    assert len(targets) == 0 and targets.xs.shape == (0, 9)


def test_long_lanes_count_less_per_row():
    valid = torch.tensor([[True] * 4, [True] + [False] * 3, [False] * 4])
    # The last, between two rows, counts as one row long.
    assert row_weights(valid).tolist() == pytest.approx([0.5, 1, 1])
    assert row_weights(torch.zeros(0, 4, dtype=torch.bool)).shape == (0,)
