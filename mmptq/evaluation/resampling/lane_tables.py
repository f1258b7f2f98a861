"""Lane metrics as ratios of sums."""

from typing import Any

import numpy as np

from .ratio_table import RatioTable


def culane_table(metric: Any, results: list, main: str, _: Any = None) -> RatioTable:
    """F1, precision and recall from the counts that CULaneMetric keeps of each image.

    Args:
        metric (CULaneMetric): Not used.
        results (list): Counts and categories of each image.
        main (str): Not used; all values come from one table.
    """
    counts = np.array([row for row, _ in results], dtype=np.float64)
    predicted, true, hits = counts[:, :1], counts[:, 1:2], counts[:, 2:]
    number = hits.shape[1]
    tops = np.concatenate([2 * hits, hits[:, :1], hits[:, :1]], 1)
    both = np.repeat(predicted + true, number, axis=1)
    bottoms = np.concatenate([both, predicted, true], 1)
    names = dict(F1=[0], precision=[number], recall=[number + 1], mF1=list(range(number)))
    if number > 5:
        names['F1_75'] = [5]
    return RatioTable(tops, bottoms, names)


def tusimple_table(metric: Any, results: list, main: str, _: Any = None) -> RatioTable:
    """Means of the scores that TuSimpleMetric keeps of each image.

    Args:
        metric (TuSimpleMetric): Not used.
        results (list): Accuracy, false positive and false negative rate of each image.
        main (str): Not used; all values come from one table.
    """
    tops = np.array(results, dtype=np.float64).reshape(len(results), -1)
    names = dict(accuracy=[0], FP=[1], FN=[2])
    return RatioTable(tops, np.ones_like(tops), names)
