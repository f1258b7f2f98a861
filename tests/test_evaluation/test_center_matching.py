import numpy as np

from mmptq.evaluation import match_centers

CENTERS = np.array([[0.0, 0.0], [10.0, 0.0]])
LABELS = np.array([0, 1])


def match(centers, labels, scores, distance=2.0):
    centers = np.array(centers, dtype=float).reshape(-1, 2)
    return match_centers(
        centers, np.array(labels), np.array(scores), CENTERS, LABELS, distance
    ).tolist()


def test_nearest_of_the_class_within_the_distance():
    assert match([[10.5, 0], [0.5, 0]], [1, 0], [0.9, 0.8]) == [1, 0]
    assert match([[0.5, 0], [10.5, 0]], [1, 0], [0.9, 0.8]) == [-1, -1]  # classes swapped
    assert match([[0, 2.0]], [0], [0.5]) == [0, -1]
    assert match([[0, 2.01]], [0], [0.5]) == [-1, -1]


def test_better_score_comes_first_and_nobody_gets_two():
    assert match([[0.1, 0], [1, 0]], [0, 0], [0.3, 0.9]) == [1, -1]


def test_nothing_and_not_finite():
    assert match([], [], []) == [-1, -1]
    assert match([[np.nan, 0], [np.inf, 0]], [0, 1], [0.9, 0.9]) == [-1, -1]
