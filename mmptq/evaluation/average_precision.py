"""Matching of detections to ground truth, and average precision."""

import numpy as np

RECALL_POINTS = {40: np.arange(1, 41) / 40, 11: np.arange(11) / 10}


def match_detections(
    ious: np.ndarray, scores: np.ndarray, gt_ignored: np.ndarray, iou_thr: float
) -> np.ndarray:
    """Match the detections of one class in one sample to ground truths, best score first.

    A detection matches the free ground truth with the largest overlap, if that is at least
    ``iou_thr``. Ignored ground truths are considered only if there is no such match; they may match
    any number of detections.

    Args:
        ious (np.ndarray): (P, G) overlaps of detections with ground truths.
        scores (np.ndarray): (P,) confidence scores.
        gt_ignored (np.ndarray): (G,) bool, ground truths that are not evaluated.
        iou_thr (float): Minimum overlap of a match.

    Returns:
        np.ndarray: (P,) int, 1 = true positive, 0 = false positive, -1 = matches an ignored object.
    """
    outcome = np.zeros(len(scores), dtype=np.int64)
    free = ~gt_ignored
    for index in np.argsort(-scores, kind='stable'):
        candidates = np.where(free, ious[index], -1.0)
        best = candidates.argmax() if candidates.size else None
        if best is not None and candidates[best] >= iou_thr:
            outcome[index] = 1
            free[best] = False
        elif (ious[index][gt_ignored] >= iou_thr).any():
            outcome[index] = -1
    return outcome


def average_precision(
    scores: np.ndarray, is_true: np.ndarray, num_gt: int, recall_points: int | str = 40
) -> float:
    """Average precision of one class over all samples.

    Precision at a recall is the maximum precision at this or a higher recall.

    Args:
        scores (np.ndarray): (P,) confidence scores.
        is_true (np.ndarray): (P,) 1 or True for a true positive, 0 for a false one.
        num_gt (int): Number of evaluated ground truths.
        recall_points (int or str): 40 (recalls 1/40 ... 1, KITTI since 2019), 11 (recalls 0, 0.1
            ... 1, PASCAL VOC 2007 and KITTI before) or 'area' (under the whole curve).

    Returns:
        float: Between 0 and 1; NaN without ground truth.

    Raises:
        ValueError: For another ``recall_points``.
    """
    if recall_points != 'area' and recall_points not in RECALL_POINTS:
        raise ValueError(f"recall_points must be 40, 11 or 'area', got {recall_points!r}")
    if num_gt == 0:
        return float('nan')
    order = np.argsort(-scores, kind='stable')
    true_positives = np.cumsum(is_true[order].astype(np.float64))
    recall = true_positives / num_gt
    precision = true_positives / np.arange(1, len(order) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    if recall_points == 'area':
        return float((np.diff(recall, prepend=0.0) * best_from_here).sum())
    # The tolerance absorbs rounding of recalls such as 3 * (1 / 3).
    first = np.searchsorted(recall, RECALL_POINTS[recall_points] - 1e-9)
    return float(np.append(best_from_here, 0.0)[first].mean())
