import numpy as np

from mmptq.report import compare_lanes
from mmptq.report.lane_pictures import COLOURS, draw_lanes

IMAGE = np.full((60, 100, 3), 128, np.uint8)
LEFT = np.array([[20.0, 59], [20, 10]])
RIGHT = np.array([[80.0, 59], [80, 10]])


def test_lanes_are_coloured_from_left_to_right():
    for lanes in ([LEFT, RIGHT], [RIGHT, LEFT]):
        picture = draw_lanes(IMAGE, lanes)
        for column, colour in ((20, COLOURS[0]), (80, COLOURS[1])):
            # Within what antialiasing mixes in of the background.
            assert np.abs(picture[30, column] - np.array(colour)).max() < 20
        assert (picture[:, 30:70] == 128).all()
    assert (IMAGE == 128).all()


def test_points_that_are_no_place_are_left_out():
    broken = np.array([[20.0, 59], [np.nan, 30], [20, 10]])
    assert np.array_equal(draw_lanes(IMAGE, [broken, np.empty((0, 2))]), draw_lanes(IMAGE, [LEFT]))
    draw_lanes(IMAGE, [np.array([[1e12, -1e12], [3.0, 4.0]])])


def test_panels_lie_side_by_side_under_captions():
    picture = compare_lanes(IMAGE, {'float': [LEFT, RIGHT], 'quantized': []})
    band = picture.shape[0] - 60
    assert band >= 16 and picture.shape[1] == 202
    assert np.array_equal(picture[band:, :100], draw_lanes(IMAGE, [LEFT, RIGHT]))
    assert (picture[band:, 102:] == 128).all()
    assert (picture[:band, :100] < 100).any() and (picture[:band, 102:] < 100).any()
