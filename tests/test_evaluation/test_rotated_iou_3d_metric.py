"""The metric on hand-made samples, and against mmdet3d's own evaluation of indoor data sets."""

import math

import numpy as np
import pytest

pytest.importorskip('mmdet3d')

from lidar_models import evaluated_sample as sample  # noqa: E402
from mmdet3d.evaluation import indoor_eval  # noqa: E402
from mmdet3d.registry import METRICS  # noqa: E402
from mmdet3d.structures import CameraInstance3DBoxes  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402

import mmptq.evaluation  # noqa: E402, F401

CAR = [2.0, 2.0, 0.0, 4.0, 2.0, 1.5, 0.3]
FAR_CAR = [12.0, 2.0, 0.0, 4.0, 2.0, 1.5, 0.3]
BIKE = [2.0, 8.0, 0.0, 1.8, 0.8, 1.7, 1.0]


def shifted(box, x):
    return [box[0] + x, *box[1:]]


def evaluate(samples, **options):
    metric = METRICS.build(dict(type='RotatedIoU3DMetric', **options))
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=('Car', 'Cyclist'))
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_perfect_detections():
    truth = [(CAR, 0), (BIKE, 1)]
    metrics = evaluate([sample(truth, [(CAR, 0, 0.9), (BIKE, 1, 0.8)])])
    assert metrics == pytest.approx(
        {'iou3d/AP_Car': 1, 'iou3d/AP_Cyclist': 1, 'iou3d/mAP': 1}, abs=1e-6
    )


def test_detection_of_the_wrong_class_or_in_the_wrong_sample_is_false():
    samples = [sample([(CAR, 0)], [(CAR, 1, 0.9)]), sample([(BIKE, 1)], [(CAR, 0, 0.9)])]
    assert evaluate(samples)['iou3d/mAP'] == 0


def test_duplicate_is_a_false_positive():
    # Scores order the two samples together: true, false, true over two objects.
    duplicate = [(CAR, 0, 0.9), (shifted(CAR, 0.1), 0, 0.8)]
    samples = [sample([(CAR, 0)], duplicate), sample([(CAR, 0)], [(CAR, 0, 0.7)])]
    metrics = evaluate(samples, recall_points='area', iou_thr=0.5)
    assert metrics['iou3d/AP_Car'] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_thresholds_are_averaged_and_reported():
    # Shifted by 1 m of 4 m along x with yaw 0: IoU 3/5.
    box = [*CAR[:6], 0.0]
    samples = [sample([(box, 0)], [(shifted(box, 1.0), 0, 0.9)])]
    metrics = evaluate(samples, iou_thr=dict(Car=[0.5, 0.7], Cyclist=0.5))
    assert metrics['iou3d/AP_Car@0.50'] == pytest.approx(1)
    assert metrics['iou3d/AP_Car@0.70'] == 0
    assert metrics['iou3d/AP_Car'] == pytest.approx(0.5)
    # No cyclist exists, so only cars enter the mean.
    assert math.isnan(metrics['iou3d/AP_Cyclist'])
    assert metrics['iou3d/mAP'] == pytest.approx(0.5)


def test_objects_without_points_are_neither_misses_nor_errors():
    truth, pred = [(CAR, 0), (FAR_CAR, 0)], [(FAR_CAR, 0, 0.9), (CAR, 0, 0.8)]
    assert evaluate([sample(truth, pred, [50, 0])])['iou3d/AP_Car'] == pytest.approx(1)
    assert evaluate([sample(truth, pred[1:], [50, 0])])['iou3d/AP_Car'] == pytest.approx(1)
    assert evaluate([sample(truth, pred[1:], [50, 9])])['iou3d/AP_Car'] == pytest.approx(0.5)


def test_objects_and_detections_outside_the_range_are_ignored():
    options = dict(point_cloud_range=[0, -10, -3, 10, 10, 1])
    samples = [sample([(CAR, 0), (FAR_CAR, 0)], [(shifted(FAR_CAR, 9), 0, 0.9), (CAR, 0, 0.8)])]
    assert evaluate(samples, **options)['iou3d/AP_Car'] == pytest.approx(1)
    assert evaluate(samples)['iou3d/AP_Car'] == pytest.approx(0.25)


def test_samples_without_objects_or_detections():
    samples = [sample([], [(CAR, 0, 0.9)]), sample([(CAR, 0)], []), sample([], [])]
    metrics = evaluate(samples)
    assert metrics['iou3d/AP_Car'] == 0
    assert metrics['iou3d/mAP'] == 0


def test_broken_network_scores_zero_instead_of_failing():
    broken = [math.nan] * 7
    assert evaluate([sample([(CAR, 0)], [(broken, 0, math.nan)])])['iou3d/AP_Car'] == 0


def random_samples(seed=0):
    """Objects with jittered, missing and spurious detections."""
    random = np.random.default_rng(seed)
    samples = []
    for _ in range(30):
        objects = random.uniform([0, 0, -1, 3, 1.5, 1.4, -3], [40, 40, 0, 5, 2, 1.8, 3], (6, 7))
        noise = random.normal(0, [0.25, 0.25, 0.1, 0.2, 0.1, 0.1, 0.1], (6, 7))
        spurious = random.uniform([0, 0, -1, 3, 1.5, 1.4, -3], [40, 40, 0, 5, 2, 1.8, 3], (3, 7))
        boxes = np.concatenate([(objects + noise)[random.random(6) < 0.8], spurious])
        labels = random.integers(0, 2, 6)
        truth = [(box.tolist(), label) for box, label in zip(objects, labels, strict=True)]
        scores = random.random(len(boxes))
        pred = [
            (box.tolist(), random.integers(0, 2), s) for box, s in zip(boxes, scores, strict=True)
        ]
        samples.append(sample(truth, pred))
    return samples


def test_agrees_with_the_indoor_evaluation_of_mmdet3d():
    samples = random_samples()
    metrics = evaluate(samples, iou_thr=0.5, recall_points='area')
    names = ('Car', 'Cyclist')
    expected = indoor_eval(
        [s['eval_ann_info'] for s in samples],
        [s['pred_instances_3d'] for s in samples],
        [0.5],
        names,
        box_mode_3d=0,
    )
    for name in names:
        assert 0.02 < metrics[f'iou3d/AP_{name}'] < 0.9
        assert metrics[f'iou3d/AP_{name}'] == pytest.approx(expected[f'{name}_AP_0.50'], abs=1e-5)


def test_sample_without_annotations_is_named():
    broken = sample([(CAR, 0)], [])
    broken['eval_ann_info'] = None
    with pytest.raises(ValueError, match='sample 7 has no eval_ann_info: set test_mode=True'):
        evaluate([broken])


def test_camera_boxes_are_refused():
    with pytest.raises(ValueError, match="CameraInstance3DBoxes.*box_type_3d='LiDAR'"):
        evaluate([sample([(CAR, 0)], [], boxes=CameraInstance3DBoxes)])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(recall_points=101), '40, 11'),
        (dict(point_cloud_range=[0, 1]), '6 numbers'),
    ],
)
def test_wrong_options_fail_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(dict(type='RotatedIoU3DMetric', **options))


def test_missing_class_threshold_is_named():
    with pytest.raises(KeyError, match="no threshold for 'Cyclist'"):
        evaluate([sample([(CAR, 0)], [])], iou_thr=dict(Car=0.5))
