"""Paired bootstrap over samples: whether two models differ by more than chance."""

from typing import Any, Protocol

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95
# Numbers that a chunk of resamples may hold at once: 64 MB.
_CHUNK = 8 * 2**20
# Resamples are fewer where the tables are so large that all of them would take minutes.
_WORK = 2 * 10**9
_FEWEST = 200


class ResampledMetric(Protocol):
    """A metric of any resampled evaluation set.

    Attributes:
        num_samples (int): S, of the evaluation set.
        width (int): Numbers that one resample takes in memory.
        most (int): Resamples that its time allows.
    """

    num_samples: int
    width: int
    most: int

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics by name, (R,) each, of R resamples.

        Args:
            weights (np.ndarray): (R, S) float64, how many times each sample counts.
        """


def paired_intervals(
    first: ResampledMetric,
    second: ResampledMetric,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of two models on one evaluation set, and the interval of their difference.

    Each resample draws as many samples as the set has, with replacement, and counts the same ones
    for both models, so that what is hard in a sample is hard for both and cancels out. The interval
    holds the middle 95 % of the differences (percentile method).

    Args:
        first (ResampledMetric): Of the float model.
        second (ResampledMetric): Of the quantized model, on the same samples.
        resamples (int): At most; fewer where the sets are very large. Defaults to 1000.
        seed (int): Of the draws.

    Returns:
        dict: ``resamples``, ``seed``, ``samples``, ``confidence``, and ``rows``: for each metric
        ``name``, ``first`` and ``second`` (the value on the set itself), ``difference`` (second
        minus first), ``low`` and ``high`` of the difference, and ``first_low`` ...
        ``second_high`` of the values.

    Raises:
        ValueError: If the numbers of samples differ or there are fewer than two.
    """
    size = first.num_samples
    if size != second.num_samples or size < 2:
        raise ValueError(
            f'a paired bootstrap needs two results on the same two or more samples, got {size} and '
            f'{second.num_samples}'
        )
    width = max(size, first.width, second.width)
    allowed = max(_FEWEST, _WORK // max(first.width, second.width, 1))
    resamples = min(resamples, allowed, first.most, second.most)
    once = np.ones((1, size))
    points = [{name: v[0] for name, v in model.values(once).items()} for model in (first, second)]
    draws: list[list[dict[str, np.ndarray]]] = [[], []]
    random = np.random.default_rng(seed)
    for start in range(0, resamples, max(1, _CHUNK // width)):
        count = min(max(1, _CHUNK // width), resamples - start)
        weights = _draw(random, count, size)
        for model, found in zip((first, second), draws, strict=True):
            found.append(model.values(weights))
    names = [name for name in points[0] if name in points[1]]
    rows = [_row(name, points, draws) for name in names]
    return dict(resamples=resamples, seed=seed, samples=size, confidence=CONFIDENCE, rows=rows)


def interval_of(intervals: dict[str, Any] | None) -> dict[str, Any] | None:
    """The row of the main metric, or None where there are no intervals.

    Args:
        intervals (dict, optional): The record 'intervals' of a run: ``metric``, and ``rows`` as
            ``paired_intervals`` gives them, or ``reason``.
    """
    rows = (intervals or {}).get('rows') or []
    return next((row for row in rows if row['name'] == intervals['metric']), None)


def is_noise(row: dict[str, Any]) -> bool:
    """Whether the interval of a difference holds zero; an unknown interval does not."""
    low, high = row['low'], row['high']
    return low is not None and high is not None and low <= 0 <= high


def _draw(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """(count, size) float64, how many times each sample was drawn."""
    drawn = random.integers(0, size, (count, size))
    drawn += np.arange(count)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=count * size)
    return counts.reshape(count, size).astype(np.float64)


def _row(name: str, points: list, draws: list) -> dict[str, Any]:
    one, other = (np.concatenate([part[name] for part in found]) for found in draws)
    values = [float(point[name]) for point in points]
    row = dict(name=name, first=values[0], second=values[1], difference=values[1] - values[0])
    for key, values in (('', other - one), ('first_', one), ('second_', other)):
        known = values[np.isfinite(values)]
        tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        low, high = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
        row.update({f'{key}low': float(low), f'{key}high': float(high)})
    return row
