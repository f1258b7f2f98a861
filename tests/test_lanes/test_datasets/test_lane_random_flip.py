"""Random mirroring."""

import numpy as np
import pytest
from lane_images import POINTS, apply, largest_miss, marked

FLIP = dict(type='LaneRandomFlip', prob=1.0)


def test_image_points_and_positions_are_mirrored():
    results = apply(marked(), FLIP)
    np.testing.assert_array_equal(results['img'], marked()['img'][:, ::-1])
    np.testing.assert_array_equal(results['gt_lanes'][0], [199, 0] + [-1, 1] * POINTS)
    assert largest_miss(results) < 0.1
    assert results['gt_lane_slots'].tolist() == [1, 3]
    assert results['flip'] and results['flip_direction'] == 'horizontal'


def test_twice_is_nothing():
    results = apply(marked(), FLIP, FLIP)
    np.testing.assert_array_equal(results['img'], marked()['img'])
    np.testing.assert_array_equal(results['gt_lanes'][0], POINTS)
    np.testing.assert_array_equal(results['homography_matrix'], np.eye(3))


def test_unknown_positions_stay_unknown():
    results = marked()
    results['gt_lane_slots'] = np.array([3, -1])
    assert apply(results, FLIP)['gt_lane_slots'].tolist() == [0, -1]
    del results['gt_lane_slots']
    assert 'gt_lane_slots' not in apply(results, FLIP)


def test_share_of_flipped_images():
    np.random.seed(0)
    flips = [apply(marked(), dict(type='LaneRandomFlip', prob=0.3))['flip'] for _ in range(200)]
    assert 0.2 < np.mean(flips) < 0.4


def test_probability_zero():
    results = apply(marked(), dict(type='LaneRandomFlip', prob=0.0))
    np.testing.assert_array_equal(results['gt_lanes'][0], POINTS)
    assert results['flip'] is False and 'homography_matrix' not in results


def test_impossible_probability_is_refused():
    with pytest.raises(ValueError, match='between 0 and 1'):
        apply(marked(), dict(type='LaneRandomFlip', prob=2))
