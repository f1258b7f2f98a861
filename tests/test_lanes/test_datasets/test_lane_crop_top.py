"""Crop of the sky."""

import numpy as np
import pytest
from lane_images import POINTS, apply, largest_miss, marked


def test_rows_are_cut_off_and_points_move_up():
    results = apply(marked(), dict(type='LaneCropTop', rows=23))
    np.testing.assert_array_equal(results['img'], marked()['img'][23:])
    np.testing.assert_array_equal(results['gt_lanes'][0], POINTS - [0, 23])
    assert largest_miss(results) < 0.1
    assert results['crop_offset'] == (0, 23) and results['img_shape'] == (97, 200)


def test_points_above_stay_in_the_lane():
    results = apply(marked(), dict(type='LaneCropTop', rows=70))
    assert results['gt_lanes'][0][:, 1].tolist() == [30, 10, -10]


def test_crop_of_everything_names_the_image():
    with pytest.raises(ValueError, match=r"'a.jpg' is 200x120 .*rows=120\) leaves no rows"):
        apply(marked(), dict(type='LaneCropTop', rows=120))


def test_negative_rows_are_refused():
    with pytest.raises(ValueError, match='got -1'):
        apply(marked(), dict(type='LaneCropTop', rows=-1))
