import math

import pytest

pytest.importorskip('mmdet3d')

from lidar_models import evaluated_sample as sample  # noqa: E402
from mmdet3d.registry import METRICS  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402

import mmptq.evaluation  # noqa: E402, F401

SIZE = [4.0, 2.0, 1.5, 0.0]


def box(x, y=0.0):
    return [x, y, 0.0, *SIZE]


def evaluate(samples, **options):
    evaluator = Evaluator(METRICS.build(dict(type='RecallByDistanceMetric', **options)))
    evaluator.dataset_meta = dict(classes=('Car', 'Cyclist'))
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_groups_by_hand():
    truth = [(box(10), 0), (box(0, 29.9), 0), (box(30), 0), (box(-49), 1), (box(60), 0)]
    found = [(box(11.5), 0, 0.9), (box(30), 0, 0.1), (box(-49), 0, 0.9), (box(60), 0, 0.05)]
    assert evaluate([sample(truth, found)]) == {
        'recall/0-30m': 0.5,
        'recall/num_0-30m': 2,
        'recall/30-50m': 0.5,  # the cyclist was taken for a car
        'recall/num_30-50m': 2,
        'recall/50m+': 0.0,  # the score is too low
        'recall/num_50m+': 1,
        'recall/all': 0.4,
        'recall/num_all': 5,
    }


def test_objects_without_a_point_do_not_count():
    metrics = evaluate([sample([(box(10), 0), (box(12), 0)], [], num_lidar_pts=[0, 3])])
    assert metrics['recall/num_all'] == 1
    assert math.isnan(metrics['recall/50m+'])


def test_bounds_and_samples_are_checked():
    with pytest.raises(ValueError, match='must increase'):
        evaluate([], bounds=(50, 30))
    with pytest.raises(ValueError, match='test_mode=True'):
        evaluate([dict(sample_idx=1, pred_instances_3d={})])
