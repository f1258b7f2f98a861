"""Any metric of mmengine on resampled sets, by its own code."""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Seconds that all resamples of one model may take, and the numbers of resamples to choose from.
SECONDS = 10.0
STEPS = (1000, 500, 200)


class Recomputed:
    """A metric whose ``compute_metrics`` takes any list of results of samples.

    Args:
        compute (Callable): Takes a list of results, one per sample, and gives metrics by name.
        results (list): Of the evaluation set.

    Attributes:
        num_samples (int): Of the evaluation set.
        most (int): Resamples that its time allows.

    Raises:
        ValueError: If the metric takes too long, or does not count a sample that is there twice.
    """

    width = 1

    def __init__(self, compute: Callable[[list], dict[str, Any]], results: list):
        self.compute, self.results = compute, list(results)
        self.num_samples = len(self.results)
        start = time.perf_counter()
        with quiet():
            self._check_repeats()
        # Four calls: half a set counts as half.
        seconds = (time.perf_counter() - start) / 4
        allowed = [step for step in STEPS if step * seconds <= SECONDS]
        if not allowed:
            raise ValueError(
                f'one computation of the metric takes {seconds:.2g} s, which is too long to repeat '
                f'it {STEPS[-1]} times'
            )
        self.most = allowed[0]

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics by name, (R,) each; those that are numbers."""
        rows = []
        with quiet():
            for row in weights:
                chosen = np.repeat(np.arange(len(row)), row.astype(np.int64))
                rows.append(_numbers(self.compute([self.results[index] for index in chosen])))
        names = [name for name in rows[0] if all(name in row for row in rows)]
        return {name: np.array([row[name] for row in rows]) for name in names}

    def _check_repeats(self) -> None:
        """A metric that finds its samples by an id would ignore repeated ones."""
        half = max(1, self.num_samples // 2)
        first, second = self.results[:half], self.results[half:]
        one = _numbers(self.compute(first))
        other = _numbers(self.compute(second))
        all_once = _numbers(self.compute(first + second))
        repeated = _numbers(self.compute(first + first + second))
        if one != other and all_once == repeated:
            raise ValueError('the metric ignores a sample that is drawn twice')


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in (metrics or {}).items():
        if not isinstance(value, str | bool | type(None)) and np.size(value) == 1:
            found[name] = float(np.asarray(value).item())
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Within this context metrics neither log nor print."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
