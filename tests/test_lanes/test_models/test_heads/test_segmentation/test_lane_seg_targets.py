"""Classes of pixels and flags of positions."""

import numpy as np
import pytest
from seg_models import make_sample

from mmptq.lanes.models.heads.segmentation.lane_seg_targets import lane_slots, segmentation_target


def test_lanes_are_drawn_with_their_position():
    sample = make_sample([[[10, 39], [10, 0]], [[50, 39], [50, 0]]], [1, 3], size=(60, 40))
    classes, exists = segmentation_target(sample, num_lanes=4, lane_width=3)
    assert exists.tolist() == [0, 1, 0, 1]
    assert classes.shape == (40, 60)
    assert classes[20, [7, 9, 10, 11, 13]].tolist() == [0, 2, 2, 2, 0]
    assert classes[:, 49:52].unique().tolist() == [4] and (classes[:, :20] == 4).sum() == 0


def test_no_lanes():
    classes, exists = segmentation_target(make_sample([], []), num_lanes=4, lane_width=3)
    assert classes.sum() == 0 and exists.sum() == 0


def test_too_many_positions_are_refused():
    sample = make_sample([[[10, 39], [10, 0]]], [5])
    with pytest.raises(ValueError, match='position 6, but the head has 4 positions'):
        segmentation_target(sample, num_lanes=4, lane_width=3)


def test_unknown_positions_are_counted_from_the_middle():
    feet = [90.0, 20.0, 60.0, 40.0, 5.0, 70.0, 95.0]
    lanes = [np.array([[x, 99.0], [50 + (x - 50) / 2, 50], [50, 0]]) for x in feet]
    slots = lane_slots(lanes, [-1] * 7, (100, 100), num_lanes=6)
    assert slots == [5, 1, 3, 2, 0, 4, -1]
    assert lane_slots(lanes[:2], [2, 0], (100, 100), num_lanes=6) == [2, 0]


def test_a_lane_that_leaves_at_the_side_is_drawn_on():
    # Both leave at the left border; the steeper one meets the bottom line nearer to the middle.
    lanes = [np.array([[0.0, 50], [40, 30], [80, 10]]), np.array([[0.0, 80], [20, 40], [40, 0]])]
    assert lane_slots(lanes, [-1, -1], (200, 100), num_lanes=4) == [0, 1]
