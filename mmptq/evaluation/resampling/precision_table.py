"""Average precision of resampled sets, from matched detections."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

# Recalls at which precision is read: one in so many steps up to 1, and whether 0 is one of them.
# 'nuscenes' has its own rule, see ``_nuscenes``.
RECALLS = dict(coco=(100, 1), r40=(40, 0), r11=(10, 1))
_ROUNDING = 1e-4  # of recalls in float32, in steps
RULES = (*RECALLS, 'area', 'nuscenes')
_SMALLEST = 0.1  # recall and precision below which nuScenes counts nothing


@dataclass
class PrecisionView:
    """Detections of a whole set with what they matched, and the objects of each sample.

    Attributes:
        samples (np.ndarray): (M,) sample of each detection.
        labels (np.ndarray): (M,) its class.
        scores (np.ndarray): (M,) its confidence.
        hits (np.ndarray): (M, T) bool, true positives at each of T thresholds.
        ignored (np.ndarray): (M, T) bool, neither right nor wrong.
        objects (np.ndarray): (S, C) objects that count, by sample and class.
        used (np.ndarray): (C, T) bool, thresholds of each class.
    """

    samples: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray
    used: np.ndarray

    def __post_init__(self):
        order = np.lexsort((-self.scores, self.labels))  # stable
        for name in ('samples', 'labels', 'scores', 'hits', 'ignored'):
            setattr(self, name, getattr(self, name)[order])

    def precisions(self, weights: np.ndarray, rule: str) -> np.ndarray:
        """Average precision of each class and threshold.

        Args:
            weights (np.ndarray): (R, S) how many times each sample counts.
            rule (str): One of ``RULES``.

        Returns:
            np.ndarray: (R, C, T); NaN for a class without objects and for unused thresholds. A
            class without objects has 0 by nuScenes' rule.
        """
        found = np.full((weights.shape[0], *self.used.shape), np.nan)
        counts = weights @ self.objects
        # Sums of small integers are exact in float32.
        weights = np.ascontiguousarray(weights.T, dtype=np.float32)
        for label in range(self.used.shape[0]):
            known = counts[:, label] > 0
            for threshold, values in self._class(weights, label, counts[:, label], rule):
                absent = 0.0 if rule == 'nuscenes' else np.nan
                found[:, label, threshold] = np.where(known, values, absent)
        return found

    def _class(
        self, weights: np.ndarray, label: int, counts: np.ndarray, rule: str
    ) -> Iterator[tuple[int, np.ndarray]]:
        first, last = np.searchsorted(self.labels, [label, label + 1])
        for threshold in np.flatnonzero(self.used[label]):
            kept = np.flatnonzero(~self.ignored[first:last, threshold]) + first
            places = kept[self.hits[kept, threshold]]
            if not len(places):
                yield threshold, np.zeros(weights.shape[1])
                continue
            right = weights[self.samples[places]]
            between = _sums_between(self.samples[kept], kept, places, weights)
            curve = _Curve(right.cumsum(0), between[:-1].cumsum(0), counts)
            if rule == 'nuscenes':
                yield threshold, _nuscenes(curve, right, between)
            else:
                yield threshold, _area(curve, rule)


@dataclass
class PrecisionTable:
    """Mean average precision of resampled sets, as a metric defines it.

    Attributes:
        views (dict[str, PrecisionView]): 'all', and others such as COCO's 'small'.
        rule (str): One of ``RULES``.
        classes (list[str]): Names of the C classes.
        names (dict[str, tuple[str, int]]): Metric to the view and the threshold it reads, -1 for
            the mean of all.
        most (int): Resamples that its time allows.
    """

    views: dict[str, PrecisionView]
    rule: str
    classes: list[str]
    names: dict[str, tuple[str, int]]
    most: int = 10**6

    @property
    def num_samples(self) -> int:
        """S, of the evaluation set."""
        return len(self.views['all'].objects)

    @property
    def width(self) -> int:
        """Numbers that one resample takes."""
        return 4 * max(int(view.hits.sum(0).max(initial=0)) for view in self.views.values())

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics by name, and 'class/NAME' for each class, (R,) each."""
        found = {}
        precisions = {
            name: view.precisions(weights, self.rule) for name, view in self.views.items()
        }
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Mean of empty slice', RuntimeWarning)
            for name, (view, threshold) in self.names.items():
                values = precisions[view]
                one = np.nanmean(values, 2) if threshold < 0 else values[:, :, threshold]
                found[name] = np.nanmean(one, 1)
            by_class = np.nanmean(precisions['all'], 2)
        names = [f'class/{name}' for name in self.classes]
        return dict(found, **dict(zip(names, by_class.T, strict=True)))


class _Curve:
    """Recall and precision at each of K true positives, in R resamples.

    Args:
        true (np.ndarray): (K, R) true positives so far.
        counted (np.ndarray): (K, R) detections so far.
        objects (np.ndarray): (R,) objects.
    """

    def __init__(self, true: np.ndarray, counted: np.ndarray, objects: np.ndarray):
        self.true, self.counted, self.objects = true, counted, objects
        self.recall = true / np.maximum(objects, 1).astype(np.float32)

    @property
    def precision(self) -> np.ndarray:
        """(K, R); 0 where nothing counts yet."""
        return self.true / np.maximum(self.counted, 1)


def _sums_between(
    samples: np.ndarray, ranks: np.ndarray, places: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(K + 1, R) weights of the detections up to each of K ranks from the one before, and the rest.

    Args:
        samples (np.ndarray): (M,) sample of each detection.
        ranks (np.ndarray): (M,) rising.
        places (np.ndarray): (K,) ranks of true positives.
        weights (np.ndarray): (S, R).
    """
    segments = np.searchsorted(places, ranks)
    ones = np.ones(len(samples), np.float32)
    shape = (len(places) + 1, len(weights))
    return csr_matrix((ones, (segments, samples)), shape=shape) @ weights


def _area(curve: _Curve, rule: str) -> np.ndarray:
    """(R,) mean over recalls of the best precision at this or a higher recall."""
    best = np.maximum.accumulate(curve.precision[::-1], axis=0)[::-1]
    reached, with_zero, steps = curve.recall, 0, 1
    if rule != 'area':
        # True positive k stands for the recalls that it is the first to reach.
        steps, with_zero = RECALLS[rule]
        reached = np.floor(curve.recall * np.float32(steps) + np.float32(_ROUNDING))
    best[1:] *= np.diff(reached, axis=0)
    best[0] *= reached[0] + with_zero
    return best.sum(axis=0, dtype=np.float64) / (steps + with_zero)


def _nuscenes(curve: _Curve, right: np.ndarray, between: np.ndarray) -> np.ndarray:
    """(R,) precision above 0.1 at recalls above 0.1, linear between detections.

    Args:
        curve (_Curve): At the true positives.
        right (np.ndarray): (K, R) weights of the true positives.
        between (np.ndarray): Of ``_sums_between``.
    """
    before_next = curve.counted.copy()
    before_next[:-1] = curve.counted[1:] - right[1:]
    before_next[-1] += between[-1]
    lowest = curve.true / np.maximum(before_next, 1)
    wrong_first = between[0] > right[0]
    points, precision = np.linspace(0, 1, 101), curve.precision
    # As exact as the kit's: recalls may fall on these points.
    recalls = curve.true.astype(np.float64) / np.maximum(curve.objects, 1)
    found = np.empty(right.shape[1])
    for index in range(len(found)):
        x = np.repeat(recalls[:, index], 2)
        y = np.stack([precision[:, index], lowest[:, index]], 1).ravel()
        if wrong_first[index]:
            x, y = np.append(0.0, x), np.append(0.0, y)
        values = np.interp(points, x, y, right=0)[round(100 * _SMALLEST) + 1 :]
        found[index] = np.maximum(values - _SMALLEST, 0).mean() / (1 - _SMALLEST)
    return found
