"""Forms of lanes that metrics need."""

import numpy as np
import pytest
import torch

from mmptq.lanes.geometry.lane_points import lane_xs, to_point_arrays


def test_tensors_arrays_and_lists():
    lanes = [torch.ones(3, 2, requires_grad=True), np.ones((2, 2), np.float32), [[1, 2]], []]
    arrays = to_point_arrays(lanes, 'test')
    assert [array.shape for array in arrays] == [(3, 2), (2, 2), (1, 2), (0, 2)]
    assert all(array.dtype == np.float64 for array in arrays)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r'lane 1 of test has shape \(4, 3\)'):
        to_point_arrays([np.ones((4, 2)), np.ones((4, 3))], 'test')


def test_x_at_rows():
    points = np.array([[10.0, 100], [30, 80], [np.nan, 70]])
    xs = lane_xs(points, [110, 100, 90, 80, 75])
    np.testing.assert_array_equal(xs, [np.nan, 10, 20, 30, np.nan])
    np.testing.assert_array_equal(lane_xs(points[::-1], [90]), [20])
    assert np.isnan(lane_xs(np.empty((0, 2)), [90])).all()
    np.testing.assert_array_equal(lane_xs(points[:1], [100, 99]), [10, np.nan])
