"""nuScenes' metric as a table of matched detections."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from mmptq.evaluation.average_precision import match_detections

from .nuscenes_score import ERRORS, NuScenesTable
from .precision_table import PrecisionView


@contextmanager
def nuscenes_boxes() -> Iterator[list]:
    """Within this context the development kit leaves each evaluation, with its boxes, in a list."""
    kept: list = []
    if find_spec('nuscenes') is None:
        yield kept
        return
    from nuscenes.eval.detection.evaluate import NuScenesEval

    original = NuScenesEval.evaluate

    def evaluate(self: Any) -> Any:
        kept.append(self)
        return original(self)

    NuScenesEval.evaluate = evaluate
    try:
        yield kept
    finally:
        NuScenesEval.evaluate = original


def nuscenes_table(metric: Any, results: list, main: str, kept: Any = None) -> NuScenesTable:
    """A table from the boxes that the development kit compares.

    Args:
        metric (NuScenesMetric): After it has computed.
        results (list): Not used; the development kit filters them.
        main (str): Such as 'pred_instances_3d_NuScenes/mAP'; the score is named NDS there.
        kept (list): Of ``nuscenes_boxes``.

    Raises:
        ValueError: For another value than mAP, or where the development kit did not run.
    """
    if not main.endswith('/mAP'):
        raise ValueError(f"'{main}' is not a mean of average precisions")
    if not kept:
        raise ValueError('the development kit of nuScenes did not run')
    evaluation = kept[-1]
    classes, limits = list(evaluation.cfg.class_names), list(evaluation.cfg.dist_ths)
    truths = _arrays(evaluation.gt_boxes, classes)
    found = _arrays(evaluation.pred_boxes, classes)
    objects = np.zeros((len(truths), len(classes)))
    tp_threshold = limits.index(evaluation.cfg.dist_th_tp)
    rows = []
    for sample, token in enumerate(truths):
        _, true_labels, centers, true_boxes = truths[token]
        scores, labels, places, boxes = found[token]
        objects[sample] = np.bincount(true_labels, minlength=len(classes))
        for label in np.unique(labels):
            mine, true = labels == label, true_labels == label
            distances = np.linalg.norm(places[mine][:, None] - centers[true][None], axis=-1)
            free = np.zeros(int(true.sum()), bool)
            outcomes = [
                match_detections(_closeness(distances), scores[mine], free, _closeness(limit))
                for limit in limits
            ]
            count = int(mine.sum())
            hits = np.stack(outcomes, 1) == 1
            where = np.full(count, sample), np.full(count, label), scores[mine]
            matched = _matched(distances, scores[mine], limits[tp_threshold])
            errors = _errors(boxes[mine], true_boxes[true], matched)
            rows.append((*where, hits, np.zeros_like(hits), errors))
    shape = (0, len(limits))
    empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0), *2 * [np.zeros(shape, bool)])
    empty = (*empty, np.zeros((0, len(ERRORS))))
    *columns, errors = (np.concatenate(column) for column in zip(empty, *rows, strict=True))
    errors = errors[np.lexsort((-columns[2], columns[1]))]  # the order of the view
    used = np.ones((len(classes), len(limits)), bool)
    views = dict(all=PrecisionView(*columns, objects, used))
    return NuScenesTable(
        views,
        'nuscenes',
        classes,
        {main: ('all', -1)},
        errors=errors,
        tp_threshold=tp_threshold,
        score=f'{main.removesuffix("mAP")}NDS',
        precision=main,
    )


def _matched(distances: np.ndarray, scores: np.ndarray, limit: float) -> np.ndarray:
    """For each detection the nearest object that is free and near enough, or -1."""
    distances, matched = distances.copy(), np.full(len(scores), -1)
    for index in np.argsort(-scores, kind='stable') if distances.shape[1] else ():
        nearest = int(distances[index].argmin())
        if distances[index, nearest] < limit:
            matched[index] = nearest
            distances[:, nearest] = np.inf
    return matched


def _errors(boxes: np.ndarray, truths: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """``ERRORS`` of each detection; NaN without an object."""
    from nuscenes.eval.common import utils

    found = np.full((len(boxes), len(ERRORS)), np.nan)
    for row, box, index in zip(found, boxes, matched, strict=True):
        if index >= 0:
            truth = truths[index]
            period = np.pi if truth.detection_name == 'barrier' else 2 * np.pi
            row[:] = (
                utils.center_distance(truth, box),
                1 - utils.scale_iou(truth, box),
                utils.yaw_diff(truth, box, period=period),
                utils.velocity_l2(truth, box),
                1 - utils.attr_acc(truth, box),
            )
    return found


def _closeness(distances: Any) -> Any:
    """From distances to what an overlap is for boxes: above 0, larger where closer."""
    return 1 / (1 + distances)


def _arrays(boxes: Any, classes: list[str]) -> dict[str, tuple]:
    """Scores, labels, centres seen from above and boxes, by token of the sample, in order."""
    found = {}
    for token in sorted(boxes.sample_tokens):
        own = boxes[token]
        labels = np.array([classes.index(box.detection_name) for box in own], dtype=int)
        centers = np.array([box.translation[:2] for box in own]).reshape(-1, 2)
        objects = np.empty(len(own), object)
        objects[:] = own
        found[token] = (np.array([box.detection_score for box in own]), labels, centers, objects)
    return found
