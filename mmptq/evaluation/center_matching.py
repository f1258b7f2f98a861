"""Matching of detections and objects by the distance of their centres."""

import numpy as np


def match_centers(
    centers: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    gt_centers: np.ndarray,
    gt_labels: np.ndarray,
    match_distance: float,
) -> np.ndarray:
    """Match detections, best score first, to the nearest free object of their class.

    A detection with a NaN or infinite centre has no match.

    Args:
        centers (np.ndarray): (P, 2) centres of detections, in metres.
        labels (np.ndarray): (P,) classes of detections.
        scores (np.ndarray): (P,) scores of detections.
        gt_centers (np.ndarray): (G, 2) centres of objects.
        gt_labels (np.ndarray): (G,) classes of objects.
        match_distance (float): Maximum distance of a match.

    Returns:
        np.ndarray: (G,) index of the detection of each object, -1 for none.
    """
    matched = np.full(len(gt_centers), -1, dtype=np.int64)
    for index in np.argsort(-scores, kind='stable'):
        distance = np.linalg.norm(gt_centers - centers[index], axis=1)
        possible = (gt_labels == labels[index]) & (matched < 0) & (distance <= match_distance)
        if possible.any():
            matched[np.where(possible, distance, np.inf).argmin()] = index
    return matched
