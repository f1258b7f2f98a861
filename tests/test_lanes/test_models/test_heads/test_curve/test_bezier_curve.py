"""Bezier maths against values by hand."""

import numpy as np
import pytest
import torch

from mmptq.lanes.models.heads.curve.bezier_curve import bernstein, fit_bezier, sample_bezier

CONTROLS = np.array([[10.0, 90.0], [20.0, 60.0], [60.0, 40.0], [70.0, 10.0]])


def test_shares_of_control_points_by_hand():
    shares = bernstein(torch.tensor([0.0, 0.5, 0.25, 1.0]))
    expected = [
        [1, 0, 0, 0],
        [1 / 8, 3 / 8, 3 / 8, 1 / 8],
        [27 / 64, 27 / 64, 9 / 64, 1 / 64],
        [0, 0, 0, 1],
    ]
    assert torch.allclose(shares, torch.tensor(expected))


def test_other_degrees():
    assert bernstein(torch.tensor([0.5]), degree=1).tolist() == [[0.5, 0.5]]
    assert bernstein(torch.tensor([0.5]), degree=2).tolist() == [[0.25, 0.5, 0.25]]


def test_middle_of_a_curve_by_hand():
    points = sample_bezier(torch.tensor(CONTROLS), 3)
    assert points[[0, -1]].tolist() == CONTROLS[[0, -1]].tolist()
    assert points[1].tolist() == [(10 + 3 * 20 + 3 * 60 + 70) / 8, (90 + 3 * 60 + 3 * 40 + 10) / 8]
    assert sample_bezier(torch.zeros(2, 5, 4, 2), 7).shape == (2, 5, 7, 2)
    assert sample_bezier(torch.zeros(0, 4, 2), 7).shape == (0, 7, 2)


def test_gradients_reach_the_control_points():
    controls = torch.zeros(1, 4, 2, requires_grad=True)
    sample_bezier(controls, 5).sum().backward()
    assert (controls.grad > 0).all()


def test_straight_lane_of_two_points():
    controls = fit_bezier(np.array([[10.0, 90.0], [40.0, 30.0]]))
    assert controls == pytest.approx(np.array([[10, 90], [20, 70], [30, 50], [40, 30.0]]))


@pytest.mark.parametrize('count', [8, 60])
def test_fit_goes_through_the_points_of_a_curve(count):
    points = sample_bezier(torch.tensor(CONTROLS), count).numpy()
    fitted = sample_bezier(torch.tensor(fit_bezier(points)), 400).numpy()
    misses = np.linalg.norm(points[:, None] - fitted, axis=2).min(axis=1)
    # Places along the curve are shares of its length, so the curve is not exactly the same one.
    assert misses.max() < 0.01 * 100


def test_doubled_points_change_nothing():
    points = np.array([[10.0, 90.0], [20, 60], [60, 40]])
    assert fit_bezier(np.repeat(points, 2, axis=0)) == pytest.approx(fit_bezier(points))
