"""The TuSimple metric on point lists."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator

from mmptq.lanes.evaluation import tusimple_image_scores

ROWS = np.arange(160, 720, 10)


def sample(gt_xs, pred, rows=ROWS):
    data = DetDataSample(metainfo=dict(img_path='a.jpg'))
    data.pred_lanes = [torch.as_tensor(np.asarray(lane, dtype=float)) for lane in pred]
    data.eval_ann_info = dict(lanes=[], lane_xs=gt_xs, h_samples=rows)
    return data


def evaluate(samples):
    evaluator = Evaluator(METRICS.build(dict(type='TuSimpleMetric')))
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def points(xs, rows=ROWS):
    """The points of a lane given as x per row."""
    return np.array([(x, y) for x, y in zip(xs, rows, strict=True) if x >= 0]).reshape(-1, 2)


def has_gap(xs) -> bool:
    """Whether a lane is absent between rows where it is present."""
    present = np.flatnonzero(np.asarray(xs) >= 0)
    return len(present) > 0 and len(present) != present[-1] - present[0] + 1


def test_official_cases_as_points(real_data):
    vectors = json.loads((real_data / 'lane_metric/tusimple_vectors_a.json').read_text())
    rows = np.array(vectors['h_samples'])
    cases = [c for c in vectors['cases'] if c['run_time'] <= 200]
    cases = [c for c in cases if not any(map(has_gap, c['pred']))]
    assert len(cases) > 40
    for case in cases:
        pred = [points(xs, rows) for xs in case['pred']]
        scores = evaluate([sample(case['gt'], pred, rows)])
        expected = [case[name] for name in ('accuracy', 'fp', 'fn')]
        assert list(scores.values()) == pytest.approx(expected, abs=1e-12), case['name']


def test_points_are_interpolated_and_ends_are_absent():
    gt = [-2.0 if row < 300 or row > 600 else float(row) for row in ROWS]
    sparse = [[600, 600], [450, 450], [300, 300]]
    scores = evaluate([sample([gt], [sparse])])
    assert scores == {'tusimple/accuracy': 1, 'tusimple/FP': 0, 'tusimple/FN': 0}


def test_means_over_images():
    lane = [700.0] * len(ROWS)
    scores = evaluate([sample([lane], [points(lane)]), sample([lane, lane], [])])
    assert scores == {'tusimple/accuracy': 0.5, 'tusimple/FP': 0, 'tusimple/FN': 0.5}


def test_broken_prediction_is_an_absent_lane():
    lane = [700.0] * len(ROWS)
    broken = points(lane) * np.nan
    expected = tusimple_image_scores([lane, [-2.0] * len(ROWS)], [lane], ROWS)
    assert tuple(evaluate([sample([lane], [points(lane), broken])]).values()) == expected


def test_other_annotations_are_refused():
    data = sample([], [])
    data.eval_ann_info = dict(lanes=[])
    with pytest.raises(ValueError, match="'a.jpg' has no h_samples"):
        evaluate([data])


@pytest.mark.parametrize(('split', 'accuracy'), [('test', 0.947), ('train', 0.976)])
def test_real_frames_and_lanes_of_a_trained_network(real_data, split, accuracy):
    """Accuracy of the authors' LSTR on ten frames, known from an independent implementation."""
    folder = real_data / 'tusimple'
    reference = json.loads((folder / 'lstr_reference_outputs.json').read_text())
    rows = np.array(reference['h_samples'])
    samples = []
    for index in range(10):
        gt_xs = []
        for line in (folder / f'{split}_labels/{index}.txt').read_text().splitlines():
            values = [float(word) for word in line.split()]
            x_at = dict(zip(values[1::2], values[::2], strict=True))
            gt_xs.append([x_at.get(row, -2.0) for row in rows])
        pred_xs = reference['frames'][f'{split}_images/{index}.jpg']['lanes_x']
        samples.append(sample(gt_xs, [points(xs, rows) for xs in pred_xs], rows))
    assert evaluate(samples)['tusimple/accuracy'] == pytest.approx(accuracy, abs=5e-4)
