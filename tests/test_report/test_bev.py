import math

import numpy as np
import pytest

from mmptq.report.bev import POINT, BoxGroup, box_outlines, draw_bev

AREA = (-10.0, -20.0, 30.0, 20.0)
RED = (0, 0, 255)


def test_outline_by_hand():
    boxes = np.array([[1.0, 2.0, 0.0, 4.0, 2.0, 1.5, math.pi / 2]])
    corners, front = box_outlines(boxes)
    # Heading along y: the length is along y, the width along x.
    assert corners[0] == pytest.approx(np.array([[0, 4], [2, 4], [2, 0], [0, 0]]))
    assert front[0] == pytest.approx(np.array([[1, 2], [1, 4]]))
    assert box_outlines(np.empty((0, 7)))[0].shape == (0, 4, 2)


def test_point_and_box_are_where_they_belong():
    points = np.array([[20.25, 10.25, 0.0], [500.0, 0.0, 0.0]])
    group = BoxGroup('int8', np.array([[2.0, -10.0, 0.0, 4.0, 2.0, 1.5, 0.0]]), RED)
    image = draw_bev(points, [group], AREA, pixels_per_meter=2)
    assert image.shape == (80, 80, 3)
    assert tuple(image[19, 19]) == POINT  # x 20 of 30 is row 20, y 10 of 20 is column 20
    reds = np.argwhere((image[:, :, 2] > 150) & (image[:, :, 1] < 100))
    # x from 0 to 4 is rows 52 to 60, y from -11 to -9 is columns 58 to 62; the legend is above.
    box = reds[reds[:, 0] >= 45]
    assert abs(box.min(0) - [52, 58]).max() <= 1
    assert abs(box.max(0) - [60, 62]).max() <= 1


def test_boxes_that_are_not_finite_are_left_out():
    boxes = np.array([[np.nan] * 7, [1e30, 0, 0, 4, 2, 1, 0]])
    picture = draw_bev(np.empty((0, 3)), [BoxGroup('int8', boxes, RED)], AREA, 2)
    assert picture.shape == (80, 80, 3)
