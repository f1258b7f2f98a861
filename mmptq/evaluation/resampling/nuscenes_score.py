"""nuScenes' detection score of resampled sets: average precision and errors of true positives."""

import time
from dataclasses import dataclass, field

import numpy as np

from .precision_table import PrecisionTable
from .recomputed import SECONDS, STEPS

ERRORS = ('trans_err', 'scale_err', 'orient_err', 'vel_err', 'attr_err')
# Errors that a class has none of.
MISSING = dict(
    traffic_cone=('attr_err', 'vel_err', 'orient_err'),
    barrier=('attr_err', 'vel_err'),
)
_PRECISION_WEIGHT = 5
_RECALLS = np.linspace(0, 1, 101)
_FIRST = 11  # errors count at recalls above 0.1


@dataclass
class NuScenesTable(PrecisionTable):
    """Average precision, and the score that also counts the errors of true positives.

    The score is left out where one computation takes so long that 200 of them are too many.

    Attributes:
        errors (np.ndarray): (M, 5) ``ERRORS`` of the detections of the view 'all', in its order;
            NaN where a detection is no true positive or has no such error.
        tp_threshold (int): Threshold at which they are true positives.
        score (str): Name of the score; '' without it.
        precision (str): Name of the mean average precision.
    """

    errors: np.ndarray = field(default_factory=lambda: np.zeros((0, len(ERRORS))))
    tp_threshold: int = 0
    score: str = ''
    precision: str = ''

    def __post_init__(self):
        start = time.perf_counter()
        if self.score:
            self._errors(np.ones((1, self.num_samples)))
        seconds = time.perf_counter() - start
        allowed = [step for step in STEPS if step * seconds <= SECONDS]
        if allowed:
            self.most = min(self.most, allowed[0])
        else:
            self.score = ''

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """As ``PrecisionTable``, with the score."""
        found = super().values(weights)
        if self.score:
            good = (1 - np.nanmean(self._errors(weights), 1)).clip(min=0).sum(1)
            total = _PRECISION_WEIGHT * found[self.precision] + good
            found[self.score] = total / (_PRECISION_WEIGHT + len(ERRORS))
        return found

    def _errors(self, weights: np.ndarray) -> np.ndarray:
        """Mean errors (R, C, 5) of true positives; 1 for a class that is not found."""
        view = self.views['all']
        found = np.ones((len(weights), len(self.classes), len(ERRORS)))
        objects = weights @ view.objects
        counts = weights.astype(np.int64)
        for label, name in enumerate(self.classes):
            first, last = np.searchsorted(view.labels, [label, label + 1])
            part = slice(first, last)
            rows = (view.samples[part], view.scores[part], view.hits[part, self.tp_threshold])
            for index in range(len(weights)):
                if objects[index, label] and last > first:
                    times = counts[index][rows[0]]
                    found[index, label] = _mean_errors(
                        *(np.repeat(row, times, 0) for row in (*rows[1:], self.errors[part])),
                        objects[index, label],
                    )
            for error in MISSING.get(name, ()):
                found[:, label, ERRORS.index(error)] = np.nan
        return found


def _mean_errors(
    scores: np.ndarray, hits: np.ndarray, errors: np.ndarray, objects: float
) -> np.ndarray:
    """Mean errors (5,) over recalls, of detections in falling order of their scores."""
    if not hits.any():
        return np.ones(len(ERRORS))
    confidence = np.interp(_RECALLS, hits.cumsum() / objects, scores, right=0)
    last = int(np.flatnonzero(confidence)[-1]) if confidence.any() else 0
    if last < _FIRST:
        return np.ones(len(ERRORS))
    own, wanted = scores[hits][::-1], confidence[::-1]
    means = []
    for values in errors[hits].T:
        known = ~np.isnan(values)
        if not known.any():
            means.append(1.0)
            continue
        so_far = np.nancumsum(values) / known.cumsum().clip(min=1)
        means.append(np.interp(wanted, own, so_far[::-1])[::-1][_FIRST : last + 1].mean())
    return np.array(means)
