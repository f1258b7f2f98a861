"""Lanes for metrics: read from samples, as checked arrays, interpolated at rows."""

from collections.abc import Sequence

import numpy as np
import torch


def read_lanes(sample: dict, metric: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """True and predicted lanes of a data sample.

    Args:
        sample (dict): A data sample as a dict.
        metric (str): Name of the metric, for error messages.

    Returns:
        tuple[list[np.ndarray], list[np.ndarray]]: (N, 2) points each, in pixels of the original
        image.

    Raises:
        ValueError: If lanes are missing or malformed; the message names the image.
    """
    image = sample.get('img_path')
    if 'eval_ann_info' not in sample:
        raise ValueError(
            f"sample '{image}' has no eval_ann_info for {metric}: set test_mode=True in the "
            'evaluated dataset and end its pipeline with PackLaneInputs'
        )
    if 'pred_lanes' not in sample:
        raise ValueError(
            f"the model predicts no pred_lanes for '{image}': {metric} is for lane detectors only"
        )
    return (
        to_point_arrays(sample['eval_ann_info']['lanes'], f"the annotation of '{image}'"),
        to_point_arrays(sample['pred_lanes'], f"the prediction for '{image}'"),
    )


def to_point_arrays(lanes: Sequence, where: str) -> list[np.ndarray]:
    """Lanes as float64 arrays.

    Args:
        lanes (Sequence[np.ndarray or Tensor]): (N, 2) points each; an empty one may have any shape.
        where (str): What the lanes are, for error messages.

    Returns:
        list[np.ndarray]: (N, 2) each.

    Raises:
        ValueError: If a lane has another shape.
    """
    arrays = []
    for index, lane in enumerate(lanes):
        lane = lane.detach().cpu().numpy() if isinstance(lane, torch.Tensor) else lane
        points = np.asarray(lane, dtype=np.float64)
        points = points if points.size else np.empty((0, 2))
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f'lane {index} of {where} has shape {points.shape}: expected (N, 2), x and y in '
                'pixels'
            )
        arrays.append(points)
    return arrays


def lane_xs(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Interpolate x of a lane linearly at image rows; NaN at rows that it does not reach.

    Points with NaN or infinite values are ignored, and so is the order of the points. If several
    points have the same y, the first one is used.

    Args:
        points (np.ndarray): (N, 2) x and y in pixels.
        rows (np.ndarray): (R,) y in pixels.

    Returns:
        np.ndarray: (R,) float64.
    """
    rows = np.asarray(rows, dtype=np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return np.full(len(rows), np.nan)
    ys, first = np.unique(points[:, 1], return_index=True)
    return np.interp(rows, ys, points[first, 0], left=np.nan, right=np.nan)
