"""Random rotation, scaling and shift."""

import numpy as np
import pytest
from lane_images import POINTS, apply, largest_miss, marked
from mmdet.registry import TRANSFORMS

AFFINE = dict(type='LaneRandomAffine', max_rotation=15)


@pytest.mark.parametrize('seed', range(3))
def test_points_stay_on_their_spots(seed):
    np.random.seed(seed)
    results = apply(marked(), AFFINE)
    assert results['img'].shape == marked()['img'].shape
    assert np.abs(results['gt_lanes'][0] - POINTS).max() > 1
    assert largest_miss(results) < 0.3


def test_scale_and_shift_by_hand():
    step = dict(AFFINE, max_rotation=0, scale_range=(1.25, 1.25), max_shift=(0, 0))
    results = apply(marked(), step)
    middle = np.array([99.5, 59.5])
    np.testing.assert_allclose(results['gt_lanes'][0], middle + 1.25 * (POINTS - middle), atol=1e-4)


def test_numbers_stay_within_their_ranges():
    step = TRANSFORMS.build(dict(AFFINE, scale_range=(0.9, 1.1), max_shift=(0.2, 0)))
    np.random.seed(0)
    angles, factors, shifts, none = np.array([step._draw() for _ in range(200)]).T
    assert np.abs(angles).max() <= 15 and np.ptp(angles) > 25
    assert 0.9 <= factors.min() < 0.92 and 1.08 < factors.max() <= 1.1
    assert 0.15 < np.abs(shifts).max() <= 0.2 and not none.any()


def test_what_comes_in_has_one_colour():
    step = dict(AFFINE, max_rotation=0, scale_range=(0.5, 0.5), max_shift=(0, 0))
    results = apply(marked(), dict(step, border_value=(1, 2, 3)))
    assert results['img'][0, 0].tolist() == results['img'][-1, -1].tolist() == [1, 2, 3]


def test_probability_zero():
    results = apply(marked(), dict(AFFINE, prob=0.0))
    np.testing.assert_array_equal(results['img'], marked()['img'])
    np.testing.assert_array_equal(results['gt_lanes'][0], POINTS)
    assert 'homography_matrix' not in results


@pytest.mark.parametrize(
    ('setting', 'message'),
    [(dict(prob=-1), 'between 0 and 1'), (dict(scale_range=(1.2, 0.8)), 'scale_range')],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        apply(marked(), dict(AFFINE, **setting))
