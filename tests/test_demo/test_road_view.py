import numpy as np
import pytest

from mmptq.demo.road_view import STRAIGHT_FROM, RoadView


def make_view(**changes) -> RoadView:
    values = dict(
        width=1640, height=590, horizon=260.0, camera_height=1.3, offset=0.2, yaw=0.01, curvature=0
    )
    return RoadView(**values | changes)


def test_pinhole_by_hand():
    view = make_view(offset=0.0, yaw=0.0)
    # 10 m ahead, 2 m to the right, on the road: x = 820 + 1000 * 2 / 10, y = 260 + 1000 * 1.3 / 10.
    points = view.project(np.array([2.0]), np.array([10.0]))
    assert points[0] == pytest.approx([1020, 390])
    assert view.project(np.array([2.0]), np.array([10.0]), 1.3)[0] == pytest.approx([1020, 260])


def test_curve_goes_on_along_its_tangent():
    view = make_view(offset=0.0, yaw=0.0, curvature=0.01)
    assert view.centre(20.0) == pytest.approx(0.01 * 20**2 / 2)
    slope = view.centre(STRAIGHT_FROM + 2) - view.centre(STRAIGHT_FROM + 1)
    assert slope == pytest.approx(0.01 * STRAIGHT_FROM)


def test_ground_pixels_are_the_inverse_of_projection():
    view = make_view(curvature=0.004)
    for row, column in ((310, 200), (420, 900), (589, 1500)):
        index = row - view.top
        points = view.project(view.laterals[index, column : column + 1], view.distances[index])
        assert points[0] == pytest.approx([column, row], abs=0.05)


def test_same_road_at_half_the_size():
    large, small = make_view(), make_view(width=820, height=295, horizon=130.0)
    lateral, distance = np.array([-1.7, 3.0]), np.array([6.0, 40.0])
    assert large.project(lateral, distance) / 2 == pytest.approx(small.project(lateral, distance))


def test_lane_points_run_up_from_the_bottom_in_steps_of_ten_rows():
    view = make_view()
    points = view.lane_points(0.5)
    assert points[0, 1] == 589
    assert np.diff(points[:, 1]) == pytest.approx(-10)
    assert 260 < points[-1, 1] < 290
    wide = view.lane_points(5.0)
    assert wide[0, 1] < 589 and wide[:, 0].max() <= 1639
    assert view.lane_points(300.0).shape == (0, 2)
