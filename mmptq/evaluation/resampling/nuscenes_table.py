"""nuScenes' average precision as a table of matched detections."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from mmptq.evaluation.average_precision import match_detections

from .precision_table import PrecisionTable, PrecisionView


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


def nuscenes_table(metric: Any, results: list, main: str, kept: Any = None) -> PrecisionTable:
    """A table from the boxes that the development kit compares.

    Args:
        metric (NuScenesMetric): After it has computed.
        results (list): Not used; the development kit filters them.
        main (str): Such as 'pred_instances_3d_NuScenes/mAP'.
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
    rows = []
    for sample, token in enumerate(truths):
        _, true_labels, centers = truths[token]
        scores, labels, places = found[token]
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
            rows.append((*where, hits, np.zeros_like(hits)))
    shape = (0, len(limits))
    empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0), *2 * [np.zeros(shape, bool)])
    columns = [np.concatenate(column) for column in zip(empty, *rows, strict=True)]
    used = np.ones((len(classes), len(limits)), bool)
    views = dict(all=PrecisionView(*columns, objects, used))
    return PrecisionTable(views, 'nuscenes', classes, {main: ('all', -1)})


def _closeness(distances: Any) -> Any:
    """From distances to what an overlap is for boxes: above 0, larger where closer."""
    return 1 / (1 + distances)


def _arrays(boxes: Any, classes: list[str]) -> dict[str, tuple]:
    """Scores, labels and centres seen from above, by token of the sample, in order."""
    found = {}
    for token in sorted(boxes.sample_tokens):
        own = boxes[token]
        labels = np.array([classes.index(box.detection_name) for box in own], dtype=int)
        centers = np.array([box.translation[:2] for box in own]).reshape(-1, 2)
        found[token] = (np.array([box.detection_score for box in own]), labels, centers)
    return found
