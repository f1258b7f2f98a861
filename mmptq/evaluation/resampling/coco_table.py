"""COCO's average precision as a table of matched detections."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .precision_table import PrecisionTable, PrecisionView
from .recomputed import quiet

# Detections per image and class that COCO's main value counts.
MOST_DETECTIONS = 100
# Images times classes up to which the values by size are matched, too.
_WITH_SIZES = 400_000
SIZES = dict(s='small', m='medium', l='large')


def coco_table(metric: Any, results: list, main: str, _: Any = None) -> PrecisionTable:
    """A table from the matches of COCOeval.

    Args:
        metric (CocoMetric): After it has computed.
        results (list): Of the metric.
        main (str): 'bbox_mAP' or 'segm_mAP'.

    Raises:
        ValueError: For other values, and for a metric that finds nothing.
    """
    kind = main.partition('_')[0]
    if kind not in ('bbox', 'segm') or not main.startswith(f'{kind}_mAP'):
        raise ValueError(f"'{main}' is no average precision of boxes or masks")
    with quiet():
        evaluation = _matched(metric, results, kind)
    params = evaluation.params
    classes = [metric._coco_api.cats[index]['name'] for index in params.catIds]
    areas = dict(zip(params.areaRngLbl, range(len(params.areaRng)), strict=True))
    views = {name: _view(evaluation, index) for name, index in areas.items()}
    names = {f'{kind}_mAP': ('all', -1)}
    for threshold in (50, 75):
        places = np.flatnonzero(np.isclose(params.iouThrs, threshold / 100))
        if len(places):
            names[f'{kind}_mAP_{threshold}'] = ('all', int(places[0]))
    names.update({f'{kind}_mAP_{s}': (name, -1) for s, name in SIZES.items() if name in views})
    return PrecisionTable(views, 'coco', classes, names)


def _matched(metric: Any, results: list, kind: str) -> Any:
    from mmdet.datasets.api_wrappers import COCOeval

    with tempfile.TemporaryDirectory() as folder:
        predictions = [prediction for _, prediction in results]
        files = metric.results2json(predictions, str(Path(folder) / 'results'))
        found = metric._coco_api.loadRes(files[kind])
    evaluation = COCOeval(metric._coco_api, found, kind)
    params = evaluation.params
    params.catIds, params.imgIds = metric.cat_ids, metric.img_ids
    params.maxDets = [MOST_DETECTIONS]
    params.iouThrs = np.atleast_1d(metric.iou_thrs)
    if len(params.catIds) * len(params.imgIds) > _WITH_SIZES:
        params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
    evaluation.evaluate()
    return evaluation


def _view(evaluation: Any, area: int) -> PrecisionView:
    params = evaluation.params
    shape = (len(params.catIds), len(params.areaRng), len(params.imgIds))
    objects = np.zeros((shape[2], shape[0]))
    thresholds = len(params.iouThrs)
    rows: list[tuple] = []
    for index, image in enumerate(evaluation.evalImgs):
        label, its_area, sample = np.unravel_index(index, shape)
        if image is None or its_area != area:
            continue
        objects[sample, label] = (np.asarray(image['gtIgnore']) == 0).sum()
        count = len(image['dtScores'])
        if count:
            places = np.full(count, sample), np.full(count, label), np.array(image['dtScores'])
            rows.append((*places, image['dtMatches'].T > 0, image['dtIgnore'].T.astype(bool)))
    empty = (
        np.zeros(0, int),
        np.zeros(0, int),
        np.zeros(0),
        *2 * [np.zeros((0, thresholds), bool)],
    )
    columns = [np.concatenate(column) for column in zip(empty, *rows, strict=True)]
    return PrecisionView(*columns, objects, np.ones((shape[0], thresholds), bool))
