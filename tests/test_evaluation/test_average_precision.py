"""Matching and average precision against answers worked out by hand."""

import numpy as np
import pytest

from mmptq.evaluation import average_precision, match_detections


def match(ious, scores, ignored, iou_thr=0.5):
    ious = np.array(ious, dtype=float).reshape(len(scores), len(ignored))
    return match_detections(ious, np.array(scores), np.array(ignored, dtype=bool), iou_thr).tolist()


def test_best_score_takes_the_ground_truth_first():
    # Both overlap the only object; the surer one gets it although it overlaps less.
    assert match([[0.9], [0.6]], [0.3, 0.8], [False]) == [0, 1]


def test_detection_takes_the_best_free_ground_truth():
    # The second detection prefers object 0, which is taken, and settles for object 1.
    assert match([[0.8, 0.1], [0.9, 0.6]], [0.9, 0.5], [False, False]) == [1, 1]


def test_overlap_equal_to_the_threshold_matches_and_less_does_not():
    assert match([[0.5]], [1.0], [False]) == [1]
    assert match([[0.4999]], [1.0], [False]) == [0]


def test_ignored_object_absorbs_any_number_of_detections():
    assert match([[0.9], [0.8], [0.2]], [0.9, 0.8, 0.7], [True]) == [-1, -1, 0]


def test_countable_object_is_preferred_to_an_ignored_one_with_more_overlap():
    assert match([[0.95, 0.6]], [0.9], [True, False]) == [1]


def test_empty_sides():
    assert match([], [], [False]) == []
    assert match([], [0.9, 0.1], []) == [0, 0]


@pytest.mark.parametrize(
    ('recall_points', 'expected'),
    [
        # Recall, precision: (1/3, 1), (1/3, 1/2), (2/3, 2/3); one of three objects is missed.
        ('area', 1 / 3 + 2 / 3 * 1 / 3),
        # Recalls 1/40 .. 13/40 see precision 1, 14/40 .. 26/40 see 2/3, the rest 0.
        (40, (13 + 13 * 2 / 3) / 40),
        # Recalls 0 .. 0.3 see 1, 0.4 .. 0.6 see 2/3.
        (11, (4 + 3 * 2 / 3) / 11),
    ],
)
def test_average_precision_by_hand(recall_points, expected):
    scores, is_true = np.array([0.5, 0.9, 0.7]), np.array([1, 1, 0])
    assert average_precision(scores, is_true, 3, recall_points) == pytest.approx(expected)


@pytest.mark.parametrize('recall_points', [40, 11, 'area'])
def test_extremes(recall_points):
    scores = np.linspace(1, 0, 7)
    assert average_precision(scores, np.ones(7), 7, recall_points) == pytest.approx(1)
    assert average_precision(scores, np.zeros(7), 7, recall_points) == 0
    assert average_precision(np.empty(0), np.empty(0), 7, recall_points) == 0
    assert np.isnan(average_precision(scores, np.zeros(7), 0, recall_points))


def test_unknown_recall_points_are_named():
    with pytest.raises(ValueError, match="40, 11 or 'area', got 101"):
        average_precision(np.empty(0), np.empty(0), 1, 101)
