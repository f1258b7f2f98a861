"""The samples whose detections changed most, as pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmptq.evaluation.predictions import BOXES_3D, LANES, Predictions
from mmptq.evaluation.score_shift import changes_of_samples, usual_threshold
from mmptq.report.page import picture_url, sample_picture
from mmptq.utils.messages import first_line

SHOWN = 12
# Bytes of all pictures; the last ones are left out where they would be more.
LARGEST = 4_500_000

Dataset = Callable[[], Any]


def changed_samples(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    dataset: Dataset,
    count: int = SHOWN,
) -> tuple[list[dict[str, Any]], str]:
    """Pictures of samples, the largest change first.

    Args:
        first (Sequence[Predictions]): Of the first model, one per sample of the set.
        second (Sequence[Predictions]): Of the second model.
        dataset (Callable): Gives the evaluation set, which is read for scans only.
        count (int): Pictures at most. Defaults to 12.

    Returns:
        tuple: Rows of ``title``, ``picture``, ``caption`` and ``lanes``; a sentence about what is
        missing.
    """
    threshold = usual_threshold(first)
    changes = changes_of_samples(first, second, threshold)
    order = [int(i) for i in np.argsort(-changes, kind='stable')[:count] if changes[i] > 0]
    if not order:
        return [], f'No detection at threshold {threshold:.3g} changed.'
    rows, reasons, size = [], [], 0
    for rank, index in enumerate(order, 1):
        pair = first[index], second[index]
        try:
            picture = _picture(*pair, threshold, dataset, index)
        except Exception as error:  # of any data set or picture; the others are shown
            reasons.append(f'{_name(pair, index)} ({first_line(error)})')
            continue
        if picture is None:
            reasons.append(f'{_name(pair, index)} (no image to draw on)')
            continue
        url = picture_url(picture)
        size += len(url)
        if size > LARGEST:
            reasons.append('the remaining ones (the page would be larger than 5 MB)')
            break
        counts = [int((own.scores >= threshold).sum()) for own in pair]
        caption = f'change {changes[index]:.2f}; {counts[0]} → {counts[1]} found'
        title = f'{rank}. {_name(pair, index)}'
        lanes = LANES in (pair[0].kind, pair[1].kind)
        rows.append(dict(title=title, picture=url, caption=caption, lanes=lanes))
    lanes = any(row['lanes'] for row in rows)
    notes = [] if lanes else [f'Detections with a score of {threshold:.3g} or more.']
    if reasons:
        notes.append(f'Left out: {", ".join(reasons)}.')
    return rows, ' '.join(notes)


def _name(pair: Sequence[Predictions], index: int) -> str:
    return Path(pair[0].source).name or f'sample {index}'


def _picture(
    one: Predictions, other: Predictions, threshold: float, dataset: Dataset, index: int
) -> np.ndarray | None:
    kind = one.kind if len(one) else other.kind
    image = points = None
    classes: Sequence[str] = ()
    if kind == BOXES_3D:
        points = _points(dataset(), index)
    else:
        image = cv2.imread(one.source) if Path(one.source).is_file() else None
        classes = (getattr(dataset(), 'metainfo', None) or {}).get('classes') or ()
    return sample_picture(one, other, threshold, image, points, classes)


def _points(dataset: Any, index: int) -> np.ndarray | None:
    """Points of a scan, where the data set has them at the place of the sample."""
    inputs = dataset[index]['inputs'] if dataset is not None else {}
    points = inputs.get('points') if isinstance(inputs, dict) else None
    if points is None:
        return None
    points = getattr(points, 'tensor', points)
    return np.asarray(points)[:, :2]
