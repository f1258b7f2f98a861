"""Keypoints: targets, matching and grouping by hand."""

import math

import numpy as np

from mmptq.lanes.models.heads.keypoint.lane_keypoints import (
    encode_keypoints,
    group_keypoints,
    match_points,
)

SHAPE = (8, 10)  # height and width in cells


def encode(*lanes, num_keypoints=4, num_curve_points=3, radius=1):
    lanes = [np.array(lane, dtype=np.float64) for lane in lanes]
    return encode_keypoints(lanes, SHAPE, num_keypoints, num_curve_points, radius)


def test_keypoints_are_even_in_y_and_point_to_the_lowest():
    target = encode([(2.5, 7.5), (5.5, 1.5)])
    order = np.argsort(-target.cells[:, 1])
    assert target.cells[order].tolist() == [[2, 7], [3, 5], [4, 3], [5, 1]]
    assert np.allclose(target.compensations, 0.5)
    assert target.offsets[order].tolist() == [[0, 0], [-1, 2], [-2, 4], [-3, 6]]
    assert target.curves.tolist() == [[[2, 7], [4, 4], [5, 1]]]


def test_heat_is_a_gaussian_around_each_cell_cut_off_at_the_border():
    target = encode([(0.5, 7.5), (0.5, 0.5)], num_keypoints=2)
    side, corner = (math.exp(-number / (2 * 0.5**2)) for number in (1, 2))
    expected = np.zeros(SHAPE)
    expected[[0, 7], 0] = 1
    expected[[0, 7], 1] = side
    expected[[1, 6], 0] = side
    expected[[1, 6], 1] = corner
    np.testing.assert_allclose(target.heatmap, expected, atol=1e-6)


def test_overlapping_gaussians_do_not_add_up():
    assert encode([(3, 7.5), (3, 0.5)], num_keypoints=30, radius=2).heatmap.max() == 1


def test_the_last_keypoint_of_a_cell_counts():
    target = encode([(3.1, 7.9), (3.1, 7.1)], [(3.9, 7.5), (3.9, 7.2)])
    assert target.cells.tolist() == [[3, 7]]
    np.testing.assert_allclose(target.compensations, [[0.9, 0.2]], atol=1e-6)
    np.testing.assert_allclose(target.offsets, [[0, 0.3]], atol=1e-6)


def test_points_on_the_border_stay_in_the_last_cell():
    target = encode([(10.0, 8.0), (9.0, 6.0)], num_keypoints=2)
    assert target.cells.max(axis=0).tolist() == [9, 7]


def test_no_lanes_and_lanes_without_extent():
    for lanes in ((), ([(1, 3), (5, 3)],), ([(1, 3)],)):
        target = encode(*lanes)
        assert target.heatmap.shape == SHAPE and not target.heatmap.any()
        assert len(target.cells) == len(target.offsets) == len(target.curves) == 0


def test_every_point_gets_a_point_of_its_own():
    pred = np.array([[[0.0, 0], [0, 1]]])
    curve = np.array([[[0, 0], [0, 9], [0, -2]]])
    # Both are nearest to (0, 0), together the second is better off there: 4 + 1 < 0 + 9.
    assert match_points(pred, curve).tolist() == [[[0, -2], [0, 0]]]


def test_keypoints_join_the_start_they_point_to():
    keypoints = np.array([[2.0, 7], [3, 6], [4, 5], [8, 7], [8, 6], [1, 1]])
    offsets = np.array([[0.0, 0], [-1, 1], [-2.2, 2], [0.5, 0.5], [0, 1], [20, 20]])
    lanes = group_keypoints(keypoints, keypoints[:, 1], offsets, 1.0, 2.0)
    assert [lane.tolist() for lane in lanes] == [[[2, 7], [3, 6], [4, 5]], [[8, 7], [8, 6]]]


def test_close_starts_make_one_lane_with_a_point_per_row():
    keypoints = np.array([[2.0, 7.2], [4, 7.4], [6, 6]])
    offsets = np.array([[0.0, 0], [-1.5, 0], [-4, 1]])
    lanes = group_keypoints(keypoints, np.array([7, 7, 6]), offsets, 1.0, 1.0)
    np.testing.assert_allclose(lanes, [[[3, 7.3], [6, 6]]])


def test_without_a_start_there_is_no_lane():
    assert group_keypoints(np.ones((2, 2)), np.ones(2), np.full((2, 2), 3.0), 1.0, 2.0) == []
    empty = np.zeros((0, 2))
    assert group_keypoints(empty, np.zeros(0), empty, 1.0, 2.0) == []
