"""Detections of two models side by side, in the colours of what the other one found."""

import numpy as np
import pytest

from mmptq.evaluation.predictions import BOXES, BOXES_3D, LANES, Predictions
from mmptq.report.page.sample_pictures import ALONE, BELOW, BOTH, GAP, sample_picture

IMAGE = np.zeros((100, 200, 3), np.uint8)


def boxes(*scores: float) -> Predictions:
    shapes = np.array([[20, 40, 60, 80], [80, 40, 120, 80], [140, 40, 180, 80]], np.float32)
    kept = [index for index, score in enumerate(scores) if score > 0]
    return Predictions(
        BOXES,
        shapes[kept],
        np.array(scores, np.float32)[kept],
        np.zeros(len(kept), int),
    )


def has(panel: np.ndarray, colour: tuple) -> bool:
    return bool((panel == np.array(colour, np.uint8)).all(axis=2).any())


def test_colours_of_boxes():
    picture = sample_picture(boxes(0.9, 0.9, 0.9), boxes(0.8, 0.2, 0), 0.3, IMAGE, classes=['car'])
    width = (picture.shape[1] - GAP) // 2
    assert picture.shape == (200, 2 * 400 + GAP, 3)  # small images are doubled
    left, right = picture[:, :width], picture[:, -width:]
    assert [has(left, colour) for colour in (BOTH, BELOW, ALONE)] == [True, True, True]
    assert [has(right, colour) for colour in (BOTH, BELOW, ALONE)] == [True, False, False]
    assert (picture[:, width : width + GAP] == 255).all()


def test_scans_and_lanes():
    shapes = np.array([[5, 0, 0, 4, 2, 1.5, 0.1]], np.float32)
    one = Predictions(BOXES_3D, shapes, np.array([0.9]), np.zeros(1, int))
    none = Predictions(BOXES_3D, shapes[:0], np.zeros(0), np.zeros(0, int))
    for points in (None, np.array([[5.0, 1.0, 0.0]])):
        picture = sample_picture(one, none, 0.3, points=points)
        width = (picture.shape[1] - GAP) // 2
        assert has(picture[:, :width], ALONE)
        # The legend names the colour, but there is no box.
        assert not has(picture[80:, -width:], ALONE)
    lane = Predictions(LANES, [np.array([[10.0, 10], [10, 90]])], np.ones(1), np.zeros(1, int))
    picture = sample_picture(lane, lane, 0.3, IMAGE)
    assert picture.any() and (picture[:, :400] == picture[:, -400:]).all()


@pytest.mark.parametrize('kind', ['other', BOXES])
def test_nothing_to_draw_on(kind):
    sample = Predictions(kind, np.zeros((1, 4)), np.ones(1), np.zeros(1, int))
    assert sample_picture(sample, sample, 0.3) is None
