"""Pairs of lanes and what they are worth."""

import numpy as np

from mmptq.lanes.evaluation.lane_matching import count_hits, precision_recall_f1


def test_the_sum_is_maximised_not_the_number_of_hits():
    ious = np.array([[0.95, 0.52], [0.52, 0.0]])
    assert count_hits(ious, [0.5]).tolist() == [2]
    ious[0, 0] = 1.0
    ious[0, 1] = ious[1, 0] = 0.49
    assert count_hits(ious, [0.4, 0.5]).tolist() == [1, 1]


def test_a_hit_is_strictly_above_the_threshold():
    assert count_hits(np.array([[0.5]]), [0.3, 0.5]).tolist() == [1, 0]


def test_one_side_empty():
    assert count_hits(np.zeros((0, 3)), [0.5]).tolist() == [0]
    assert count_hits(np.zeros((2, 0)), [0.5]).tolist() == [0]


def test_scores_by_hand():
    precision, recall, f1 = precision_recall_f1(np.array([3, 0]), 4, 6)
    assert precision.tolist() == [0.75, 0]
    assert recall.tolist() == [0.5, 0]
    assert f1.tolist() == [0.6, 0]


def test_a_share_of_nothing_is_nan():
    precision, recall, f1 = precision_recall_f1(0, 2, 0)
    assert (precision, f1) == (0, 0) and np.isnan(recall)
    assert np.isnan(precision_recall_f1(0, 0, 0)).all()
