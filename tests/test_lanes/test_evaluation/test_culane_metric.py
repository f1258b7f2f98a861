"""The CULane metric against the official evaluator and by hand."""

import json
from itertools import permutations

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator

from mmptq.lanes.evaluation.lane_matching import count_hits, precision_recall_f1
from mmptq.lanes.geometry.lane_points import to_point_arrays
from mmptq.lanes.geometry.lane_raster import lane_ious

LANE = np.stack([np.full(34, 800.0), np.arange(590, 250, -10.0)], axis=1)


def sample(gt, pred, **ann):
    data = DetDataSample(metainfo=dict(img_path='a.jpg', ori_shape=(590, 1640)))
    data.pred_lanes = [torch.as_tensor(np.asarray(lane)) for lane in pred]
    data.eval_ann_info = dict(lanes=gt, **ann)
    return data


def evaluate(samples, **kwargs):
    evaluator = Evaluator(METRICS.build(dict(type='CULaneMetric', **kwargs)))
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


@pytest.fixture(scope='module')
def vectors(real_data):
    return json.loads((real_data / 'lane_metric/culane_vectors_a.json').read_text())


@pytest.fixture(scope='module')
def ious(vectors):
    """IoU matrix of each pair of lane sets."""
    size, width = tuple(vectors['image_size']), vectors['lane_width']
    return {
        case['pair']: lane_ious(
            to_point_arrays(case['gt'], 'gt'), to_point_arrays(case['pred'], 'pred'), size, width
        )
        for case in vectors['cases']
        if case['iou'] == 0.5
    }


def test_official_ious(vectors, ious):
    for case in vectors['cases']:
        expected = np.array(case['iou_matrix'], dtype=float).reshape(ious[case['pair']].shape)
        expected = np.nan_to_num(expected)  # both lanes outside: no IoU
        np.testing.assert_allclose(ious[case['pair']], expected, atol=1e-6, err_msg=case['name'])


def best_hits(matrix, threshold):
    """Hits of the pairs with the largest sum of IoU, of all orders of the longer side."""
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    rows = np.arange(len(matrix))
    orders = list(permutations(range(matrix.shape[1]), len(rows)))
    best = max(orders, key=lambda order: matrix[rows, list(order)].sum())
    return int((matrix[rows, list(best)] > threshold).sum())


def test_official_counts(vectors, ious):
    differing = []
    for case in vectors['cases']:
        hits = int(count_hits(ious[case['pair']], [case['iou']])[0])
        counts = (hits, len(case['pred']) - hits, len(case['gt']) - hits)
        if counts != (case['tp'], case['fp'], case['fn']):
            differing.append(case['name'])
            assert case.get('nan_iou') or case.get('near_tie'), case['name']
            assert hits == best_hits(ious[case['pair']], case['iou']), case['name']
    assert len(differing) <= 11


def test_official_lists(vectors, ious):
    """Totals over lists, without the pairs whose official counts are artefacts."""
    flagged = {c['pair'] for c in vectors['cases'] if c.get('nan_iou') or c.get('near_tie')}
    official = {(case['pair'], case['iou']): case for case in vectors['cases']}
    for entry in vectors['lists']:
        gap, totals = 0, np.zeros(3, dtype=int)
        for pair in entry['pairs']:
            hits = int(count_hits(ious[pair], [entry['iou']])[0])
            totals += hits, ious[pair].shape[1], ious[pair].shape[0]
            if pair in flagged:
                gap += hits - official[pair, entry['iou']]['tp']
        hits, num_pred, num_gt = totals - [gap, 0, 0]
        assert (hits, num_pred - hits, num_gt - hits) == (entry['tp'], entry['fp'], entry['fn'])
        precision, recall, f1 = precision_recall_f1(hits, num_pred, num_gt)
        for ours, theirs in ((precision, 'precision'), (recall, 'recall')):
            assert np.isnan(ours) if entry[theirs] == -1 else abs(ours - entry[theirs]) < 1e-6
        assert f1 == (pytest.approx(entry['F'], abs=1e-6) if entry['F'] is not None else 0)


def test_metric_gives_official_counts(vectors):
    cases = [c for c in vectors['cases'] if c['iou'] == 0.5]
    cases = [c for c in cases if not (c.get('nan_iou') or c.get('near_tie'))]
    scores = evaluate([sample(c['gt'], c['pred']) for c in cases])
    for name in ('TP', 'FP', 'FN'):
        assert scores[f'culane/{name}'] == sum(case[name.lower()] for case in cases)


def test_scores_by_hand():
    # 10 px aside: IoU 0.51 with rounded ends; 300 px aside: none.
    preds = [LANE, LANE + [10, 0], LANE + [300, 0]]
    scores = evaluate([sample([LANE], [pred]) for pred in preds])
    assert (scores['culane/TP'], scores['culane/FP'], scores['culane/FN']) == (2, 1, 1)
    assert scores['culane/F1'] == scores['culane/precision'] == pytest.approx(2 / 3)
    assert scores['culane/F1_75'] == pytest.approx(1 / 3)
    assert scores['culane/mF1'] == pytest.approx((2 / 3 + 9 / 3) / 10)


def test_categories_and_false_positives_of_crossings():
    scores = evaluate(
        [
            sample([LANE], [LANE], categories=('normal',)),
            sample([], [LANE, LANE + [200, 0]], categories=('cross',)),
            sample([LANE], [], categories=('night', 'curve')),
        ]
    )
    assert scores['culane/F1_normal'] == 1
    assert scores['culane/F1_night'] == scores['culane/F1_curve'] == 0
    assert scores['culane/FP_cross'] == 2 and 'culane/F1_cross' not in scores
    assert scores['culane/FP'] == 2 and scores['culane/F1'] == pytest.approx(0.4)


def test_no_lanes_anywhere():
    scores = evaluate([sample([], [])])
    assert np.isnan(scores['culane/F1']) and scores['culane/TP'] == 0


def test_broken_prediction_counts_as_false_positive():
    scores = evaluate([sample([LANE], [LANE, LANE * np.nan, LANE[:1], LANE[:0]])])
    assert (scores['culane/TP'], scores['culane/FP']) == (1, 3)


def test_results_hold_counts_only():
    metric = METRICS.build(dict(type='CULaneMetric'))
    metric.process({}, [sample([LANE], [LANE]).to_dict()])
    counts, categories = metric.results[0]
    assert counts.nbytes <= 64 and categories == ()


def test_smaller_images():
    small = LANE / 2
    data = sample([small], [small])
    data.set_metainfo(dict(ori_shape=(295, 820)))
    with pytest.raises(ValueError, match=r"'a.jpg' is 820x295 pixels.* set its image_size"):
        evaluate([data])
    assert evaluate([data], image_size=(820, 295), lane_width=15)['culane/F1'] == 1


@pytest.mark.parametrize(
    ('field', 'message'),
    [('eval_ann_info', 'set test_mode=True'), ('pred_lanes', "no pred_lanes for 'a.jpg'")],
)
def test_missing_field_is_named(field, message):
    data = sample([LANE], [LANE])
    delattr(data, field)
    with pytest.raises(ValueError, match=message):
        evaluate([data])


def test_malformed_prediction_is_named():
    with pytest.raises(ValueError, match=r"lane 0 of the prediction for 'a.jpg' has shape \(34,\)"):
        evaluate([sample([LANE], [LANE[:, 0]])])


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match='lane_width=0'):
        METRICS.build(dict(type='CULaneMetric', lane_width=0))
