"""Average precision of RotatedIoU3DMetric as a table of matched detections."""

from typing import Any

import numpy as np

from mmptq.evaluation.average_precision import match_detections

from .precision_table import PrecisionTable, PrecisionView


def rotated_iou_table(metric: Any, results: list, main: str, _: Any = None) -> PrecisionTable:
    """A table from the overlaps that the metric keeps of each sample.

    Args:
        metric (RotatedIoU3DMetric): After it has computed.
        results (list): Of the metric.
        main (str): Not used; all values come from one table.
    """
    classes = list(metric.dataset_meta['classes'])
    thresholds = [metric._thresholds(name) for name in classes]
    most = max(map(len, thresholds))
    used = np.array([np.arange(most) < len(own) for own in thresholds])
    objects = np.zeros((len(results), len(classes)))
    rows = []
    for sample, result in enumerate(results):
        for label, own in enumerate(thresholds):
            mine, true = result['labels'] == label, result['gt_labels'] == label
            gt_ignored, scores = result['gt_ignored'][true], result['scores'][mine]
            objects[sample, label] = (~gt_ignored).sum()
            ious = result['ious'][mine][:, true]
            outcomes = [match_detections(ious, scores, gt_ignored, limit) for limit in own]
            outcomes = np.stack([*outcomes, *[outcomes[0]] * (most - len(own))], 1)
            outside = result['outside'][mine][:, None]
            ignored = (outcomes == -1) | ((outcomes == 0) & outside)
            count = len(scores)
            places = np.full(count, sample), np.full(count, label), scores
            rows.append((*places, outcomes == 1, ignored))
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    views = dict(all=PrecisionView(*columns, objects, used))
    points = metric.recall_points
    rule = points if points == 'area' else f'r{points}'
    return PrecisionTable(views, rule, classes, dict(mAP=('all', -1)))
