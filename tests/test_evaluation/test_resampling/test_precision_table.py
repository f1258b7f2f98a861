"""A resampled average precision is that of a set in which samples are repeated."""

import numpy as np
import pytest

from mmptq.evaluation import average_precision
from mmptq.evaluation.resampling import PrecisionTable, PrecisionView, load_table, table_arrays

NUM_SAMPLES, NUM_CLASSES = 6, 2


def make_view(seed: int = 0, thresholds: int = 2, ignored: bool = True) -> PrecisionView:
    random = np.random.default_rng(seed)
    count = 60
    samples = random.integers(0, NUM_SAMPLES, count)
    labels = random.integers(0, NUM_CLASSES, count)
    scores = random.permutation(count) / count
    hits = random.random((count, thresholds)) < 0.5
    some_ignored = (random.random((count, thresholds)) < 0.2) & ignored
    objects = np.zeros((NUM_SAMPLES, NUM_CLASSES))
    np.add.at(objects, (samples, labels), 1)
    used = np.ones((NUM_CLASSES, thresholds), bool)
    return PrecisionView(samples, labels, scores, hits, some_ignored, objects, used)


def repeated(view: PrecisionView, weights: np.ndarray, label: int, threshold: int) -> tuple:
    """Scores and outcomes of a set in which each sample stands as often as it counts."""
    rows = []
    for sample, times in enumerate(weights):
        mine = (view.samples == sample) & (view.labels == label) & ~view.ignored[:, threshold]
        rows += [np.stack([view.scores[mine], view.hits[mine, threshold]], 1)] * int(times)
    scores, outcomes = np.concatenate(rows).T
    return scores, outcomes, int(weights @ view.objects[:, label])


@pytest.mark.parametrize(('rule', 'points'), [('r40', 40), ('r11', 11), ('area', 'area')])
def test_it_is_the_precision_of_the_repeated_set(rule, points):
    view = make_view()
    weights = np.array([[1.0] * 6, [0, 3, 1, 0, 2, 0], [2, 0, 0, 0, 0, 4]])
    found = view.precisions(weights, rule)
    for row, label, threshold in np.ndindex(found.shape):
        expected = average_precision(*repeated(view, weights[row], label, threshold), points)
        assert found[row, label, threshold] == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    # Right, wrong, right, of two objects: precision 1 up to recall 1/2, then 2/3.
    samples, labels = np.array([0, 1, 1]), np.zeros(3, int)
    hits = np.array([[True], [False], [True]])
    view = PrecisionView(
        samples, labels, np.array([0.9, 0.8, 0.7]), hits, ~hits & hits, np.ones((2, 1)), ~hits[:1]
    )
    view.used[:] = True
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    found = view.precisions(weights, 'area')[:, 0, 0]
    assert found == pytest.approx([0.5 + 0.5 * 2 / 3, 1.0, 0.5])


def nuscenes_precision(hits: np.ndarray, objects: int) -> float:
    """As nuScenes' development kit: linear between detections, above 0.1 only."""
    true, false = np.cumsum(hits), np.cumsum(1 - hits)
    curve = np.interp(np.linspace(0, 1, 101), true / objects, true / (true + false), right=0)
    return float(np.maximum(curve[11:] - 0.1, 0).mean() / 0.9)


@pytest.mark.parametrize('seed', range(4))
def test_rule_of_nuscenes(seed):
    view = make_view(seed, ignored=False)
    found = view.precisions(np.ones((1, NUM_SAMPLES)), 'nuscenes')[0]
    for label, threshold in np.ndindex(found.shape):
        scores, hits, objects = repeated(view, np.ones(NUM_SAMPLES), label, threshold)
        expected = nuscenes_precision(hits[np.argsort(-scores)], objects)
        assert found[label, threshold] == pytest.approx(expected, abs=1e-6)


def test_a_class_without_objects_does_not_count():
    view = make_view()
    view.objects[1:, 1] = 0
    weights = np.array([[0.0, 1, 1, 1, 1, 1]])
    assert np.isnan(view.precisions(weights, 'coco')[0, 1]).all()
    assert (view.precisions(weights, 'nuscenes')[0, 1] == 0).all()


def test_a_table_from_a_file_gives_the_same(tmp_path):
    names = dict(mAP=('all', -1), mAP_50=('all', 0))
    table = PrecisionTable(dict(all=make_view()), 'coco', ['car', 'bus'], names)
    np.savez(tmp_path / 'table.npz', **table_arrays(table))
    weights = np.ones((1, NUM_SAMPLES))
    with np.load(tmp_path / 'table.npz') as file:
        again = load_table(dict(file)).values(weights)
    values = table.values(weights)
    assert values == again and set(values) == {'mAP', 'mAP_50', 'class/car', 'class/bus'}
    assert values['mAP'][0] == pytest.approx((values['class/car'] + values['class/bus'])[0] / 2)
