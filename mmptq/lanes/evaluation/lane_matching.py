"""Lanes of an image paired with each other, and what the pairs are worth."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def count_hits(ious: np.ndarray, iou_thrs: np.ndarray) -> np.ndarray:
    """Number of true positives at each threshold.

    Lanes are paired one to one so that the sum of IoU over all pairs is largest, as in CULane's
    evaluator; the thresholds come after that. A hit is strictly above the threshold.

    Note:
        The evaluator's matcher stops within about 0.01 of the best sum, and where two lanes lie
        outside of the image it stops early; this one is exact and takes such an IoU as 0.

    Args:
        ious (np.ndarray): (num_gt, num_pred) IoU.
        iou_thrs (np.ndarray): (T,) thresholds.

    Returns:
        np.ndarray: (T,) int64.
    """
    rows, columns = linear_sum_assignment(ious, maximize=True)
    return (ious[rows, columns][:, None] > np.asarray(iou_thrs)).sum(axis=0)


def precision_recall_f1(
    hits: np.ndarray, num_pred: np.ndarray, num_gt: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and their harmonic mean from counts.

    Note:
        Where CULane's evaluator gives -1 for a share of nothing, this gives NaN; where it divides
        by zero because there are lanes but no hit, F1 is 0.

    Args:
        hits (np.ndarray): True positives, any shape.
        num_pred (np.ndarray): Predicted lanes, same shape or a number.
        num_gt (np.ndarray): Ground truth lanes, same shape or a number.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Each of the shape of ``hits``, in [0, 1] or NaN.
    """
    with np.errstate(invalid='ignore'):
        return (
            np.true_divide(hits, num_pred),
            np.true_divide(hits, num_gt),
            np.true_divide(2 * np.asarray(hits), np.add(num_pred, num_gt)),
        )
