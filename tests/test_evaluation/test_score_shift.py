"""Score shift and changes of samples, by hand."""

import numpy as np
import pytest

from mmptq.evaluation.prediction_pairs import box_ious, match_predictions
from mmptq.evaluation.predictions import BOXES, BOXES_3D, LANES, Predictions
from mmptq.evaluation.score_shift import (
    changes_of_samples,
    score_shift,
    shift_text,
    usual_threshold,
)

SQUARE = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU 0.5 with the square
FAR = [50.0, 50.0, 60.0, 60.0]


def boxes(*found: tuple[list, float, int]) -> Predictions:
    shapes, scores, labels = zip(*found, strict=True) if found else ((), (), ())
    shapes = np.array(shapes, np.float32).reshape(-1, 4)
    return Predictions(BOXES, shapes, np.array(scores, np.float32), np.array(labels, int))


def test_overlap():
    assert box_ious(np.array([SQUARE]), np.array([HALF, FAR])).tolist() == [[0.5, 0.0]]


def test_the_closest_of_one_class_pair_up():
    one = boxes((HALF, 0.9, 0), (SQUARE, 0.8, 0), (FAR, 0.7, 1))
    other = boxes((SQUARE, 0.9, 0), (FAR, 0.9, 0))
    pairs = match_predictions(one, other)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([1], [0])
    assert pairs.closeness.tolist() == [1.0]


def test_boxes_from_above_and_lanes():
    spatial = [np.array([[x, 0, 0, 4, 2, 1.5, 0]]) for x in (0.0, 0.25, 1.5)]
    groups = [Predictions(BOXES_3D, shape, np.ones(1), np.zeros(1)) for shape in spatial]
    assert match_predictions(groups[0], groups[1]).closeness.tolist() == [0.75]
    assert not len(match_predictions(groups[0], groups[2]).first)
    lanes = [[np.array([[x, 0.0], [x, 100.0]])] for x in (0.0, 15.0, 40.0)]
    groups = [Predictions(LANES, lane, np.ones(1), np.zeros(1)) for lane in lanes]
    assert match_predictions(groups[0], groups[1]).closeness == pytest.approx([0.5])
    assert not len(match_predictions(groups[0], groups[2]).first)


def test_shift_and_threshold():
    first = [boxes((SQUARE, 0.8, 0), (FAR, 0.4, 1)), boxes((SQUARE, 0.35, 0)), boxes()]
    second = [boxes((SQUARE, 0.7, 0), (FAR, 0.25, 1)), boxes((SQUARE, 0.31, 1)), boxes()]
    shift = score_shift(first, second)
    # Two pairs: -0.1 and -0.15. The third box has another class now.
    assert shift['pairs'] == 2
    assert shift['mean'] == pytest.approx(-0.125) == -shift['mean_absolute']
    assert (shift['first_count'], shift['second_count']) == (3, 2)
    # Float: two of three matched; quantized: one of two.
    assert shift['matched'] == pytest.approx(3 / 5)
    # Its third score is 0.25, and there is no fourth.
    assert shift['same_count_at'] == pytest.approx(0.125)
    text = shift_text(shift)
    assert 'change by -0.1250 on average' in text and 'threshold 0.125 gives it 3' in text


def test_fewer_detections_than_the_float_model_has():
    shift = score_shift([boxes((SQUARE, 0.8, 0), (FAR, 0.4, 1))], [boxes((SQUARE, 0.7, 0))])
    assert shift['same_count_at'] is None and 'gives it' not in shift_text(shift)
    nothing = score_shift([boxes()], [boxes()])
    assert (nothing['mean'], nothing['matched'], nothing['pairs']) == (None, None, 0)
    assert shift_text(nothing) == '0 detections of the float model, 0 of the quantized one'


def test_changes_of_samples():
    first = [boxes((SQUARE, 0.8, 0)), boxes((SQUARE, 0.8, 0)), boxes((FAR, 0.1, 0))]
    second = [boxes((SQUARE, 0.6, 0)), boxes((HALF, 0.8, 0), (FAR, 0.5, 0)), boxes()]
    # A change of the score; half the overlap and a new box; nothing that counts.
    assert changes_of_samples(first, second, 0.3) == pytest.approx([0.2, 0.4 + 0.5, 0.0])


def test_threshold_where_scores_are_low():
    many = [boxes(*[(SQUARE, 0.01 * index, 0) for index in range(10, 0, -1)])]
    assert usual_threshold(many) == pytest.approx(0.06)
    assert usual_threshold([boxes((SQUARE, 0.9, 0))]) == 0.3
    assert usual_threshold([boxes()]) == usual_threshold([]) == 0.3
