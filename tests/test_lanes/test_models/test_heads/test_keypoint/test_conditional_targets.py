"""Targets of lanes with conditional maps, by hand."""

import numpy as np
import pytest

from mmptq.lanes.models.heads.keypoint.conditional_targets import encode_conditional

SHAPES = (8, 12), (4, 6)  # of the maps and of the heatmap


def encode(*lanes, radius: int = 2):
    return encode_conditional([np.array(lane, dtype=float) for lane in lanes], *SHAPES, radius)


def test_one_lane():
    targets = encode([(2.5, 6.5), (5.5, 0.5)])
    assert targets.starts.tolist() == [[1, 3]]  # half of (2.5, 6.5)
    assert targets.radii.tolist() == [2]
    assert targets.rows[0].tolist() == [False] + [True] * 6 + [False]
    np.testing.assert_allclose(targets.columns[0, 1:7], [5.25, 4.75, 4.25, 3.75, 3.25, 2.75])
    assert targets.heatmap[3, 1] == 1
    assert targets.heatmap[3, 2] == pytest.approx(np.exp(-1 / (2 * (5 / 6) ** 2)))
    assert targets.heatmap[3, 4] == 0


def test_a_lane_that_leaves_the_image_starts_at_its_border():
    targets = encode([(-4, 7), (6, 2)])
    assert targets.starts.tolist() == [[0, 2]]  # x = 0 at y = 5
    assert targets.rows[0].tolist() == [False, False, True, True, True, True, False, False]


def test_lanes_that_reach_no_row_are_left_out():
    targets = encode([(3, 2.2), (4, 2.8)], [(-5, 1), (-3, 6)], [])
    assert len(targets.starts) == len(targets.columns) == len(targets.rows) == 0
    assert targets.columns.shape == (0, 8)
    assert not targets.heatmap.any()


def test_radii_of_close_starts():
    # 1.5 and 3.5 cells of the heatmap apart; with radius 2 less than 3 cells are close.
    targets = encode([(1, 7), (2, 0)], [(4, 7), (4, 0)], [(11, 7), (10, 0)])
    assert targets.radii.tolist() == [1, 1, 2]


def test_seeds_around_a_start():
    targets = encode([(2.5, 6.5), (5.5, 0.5)], radius=2)
    seeds = targets.seeds(0).tolist()
    assert seeds[0] == [1, 3]
    assert sorted(seeds[1:]) == [[0, 3], [1, 2], [2, 3]]  # [1, 4] is outside
    wide = encode([(6, 3), (6, 0)], radius=4).seeds(0)
    assert len(wide) == 12  # the 13th cell within two cells of [3, 1] is outside
