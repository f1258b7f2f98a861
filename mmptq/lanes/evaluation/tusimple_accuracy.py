"""TuSimple's scores of one image, from x at fixed rows."""

import numpy as np

POINT_TOLERANCE = 20.0  # pixels, at right angles to the lane
LANE_ACCURACY = 0.85  # share of right points that makes a lane found
MAX_RUN_TIME = 200  # milliseconds
EXTRA_LANES = 2  # predictions allowed beyond the true lanes
COUNTED_LANES = 4  # of more true lanes, the worst is forgiven
ABSENT_X = -100.0


def tusimple_image_scores(
    pred_xs: list, gt_xs: list, h_samples: list, run_time: float = 0.0
) -> tuple[float, float, float]:
    """Accuracy, false positive and false negative rate of one image, as TuSimple's evaluator.

    A point is right when it lies within 20 pixels of the true lane, divided by the cosine of the
    lane's slope; a negative or NaN x means that the lane is absent in that row, and absent on both
    sides is right. Each true lane takes the best prediction on its own, so two may share one and
    the false positive rate may be negative; with more than four true lanes the worst is forgiven
    and rates may pass 1 (https://github.com/TuSimple/tusimple-benchmark, ``evaluate/lane.py``).

    Args:
        pred_xs (list): (num_pred, R) x in pixels.
        gt_xs (list): (num_gt, R) x in pixels.
        h_samples (list): (R,) rows, y in pixels.
        run_time (float): Milliseconds; above 200 the image is lost.

    Returns:
        tuple[float, float, float]: Accuracy, false positive rate, false negative rate.

    Raises:
        ValueError: If a lane has another number of x than there are rows.
    """
    rows = np.asarray(h_samples, dtype=np.float64)
    for name, lanes in (('predicted', pred_xs), ('true', gt_xs)):
        for lane in lanes:
            if len(lane) != len(rows):
                raise ValueError(f'a {name} lane has {len(lane)} x for {len(rows)} h_samples')
    if run_time > MAX_RUN_TIME or len(pred_xs) > len(gt_xs) + EXTRA_LANES:
        return 0.0, 0.0, 1.0
    preds = np.asarray(pred_xs, dtype=np.float64).reshape(len(pred_xs), len(rows))
    truths = np.asarray(gt_xs, dtype=np.float64).reshape(len(gt_xs), len(rows))
    accuracies = np.zeros(len(truths))
    if len(preds) and len(truths):
        tolerances = np.array([_tolerance(truth, rows) for truth in truths])
        preds, truths = (np.where(xs >= 0, xs, ABSENT_X) for xs in (preds, truths))
        right = np.abs(preds[None] - truths[:, None]) < tolerances[:, None, None]
        accuracies = right.mean(axis=2).max(axis=1)
    found = accuracies >= LANE_ACCURACY
    missed, total = int((~found).sum()), accuracies.sum()
    if len(truths) > COUNTED_LANES:
        missed, total = max(missed - 1, 0), total - accuracies.min()
    divisor = max(min(len(truths), COUNTED_LANES), 1)
    false_positives = (len(preds) - int(found.sum())) / len(preds) if len(preds) else 0.0
    return float(total / divisor), false_positives, missed / divisor


def _tolerance(xs: np.ndarray, rows: np.ndarray) -> float:
    """Allowed distance along x, from a least-squares line x = slope * y + offset."""
    present = xs >= 0
    if present.sum() < 2:
        return POINT_TOLERANCE
    ys = rows[present] - rows[present].mean()
    slope = ys @ (xs[present] - xs[present].mean()) / (ys @ ys)
    return float(POINT_TOLERANCE / np.cos(np.arctan(slope)))
