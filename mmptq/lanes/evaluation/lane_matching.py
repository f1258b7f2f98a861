"""Matching of true and predicted lanes, and scores of the matches."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def count_hits(ious: np.ndarray, iou_thrs: np.ndarray) -> np.ndarray:
    """Number of true positives at each threshold.

    A one-to-one matching maximises the sum of IoU, as in CULane's evaluator; thresholds are applied
    afterwards. A hit has an IoU strictly above the threshold.

    Note:
        The evaluator's matching is within about 0.01 of the maximum, and it stops early if two
        lanes are outside the image. This matching is exact and uses an IoU of 0 for such lanes.

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
        For zero divided by zero CULane's evaluator returns -1 and this function NaN. If there are
        lanes but no hits, the evaluator divides by zero and F1 is 0 here.

    Args:
        hits (np.ndarray): Number of true positives, any shape.
        num_pred (np.ndarray): Number of predicted lanes, same shape or a scalar.
        num_gt (np.ndarray): Number of true lanes, same shape or a scalar.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Same shape as ``hits``, in [0, 1] or NaN.
    """
    with np.errstate(invalid='ignore'):
        return (
            np.true_divide(hits, num_pred),
            np.true_divide(hits, num_gt),
            np.true_divide(2 * np.asarray(hits), np.add(num_pred, num_gt)),
        )
