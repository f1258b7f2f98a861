"""Lines are where their values are."""

import numpy as np

from mmptq.report.line_chart import BOTTOM, COLOURS, LEFT, RIGHT, SIZE, TOP, line_chart


def test_lines_end_where_their_values_are():
    image = line_chart([0, 2], dict(rises=[0, 5], falls=[10, 0]), 'title', 'step')
    width, height = SIZE
    assert image.shape == (height, width, 3)
    left, right, middle = LEFT, width - RIGHT, TOP + (height - TOP - BOTTOM) // 2
    for (x, y), colour in (
        ((left, height - BOTTOM), COLOURS[0]),
        ((right, middle), COLOURS[0]),
        ((left, TOP), COLOURS[1]),
        ((right, height - BOTTOM), COLOURS[1]),
    ):
        assert (np.abs(image[y, x].astype(int) - colour) < 30).all()


def test_nothing_but_zeros_and_one_step():
    assert line_chart([3], dict(a=[0.0]), 'title', 'step').min() < 100
