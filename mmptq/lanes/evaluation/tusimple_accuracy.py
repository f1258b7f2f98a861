"""TuSimple's scores of one image from x at fixed rows."""

import numpy as np

POINT_TOLERANCE = 20.0  # pixels, perpendicular to the lane
LANE_ACCURACY = 0.85  # smallest fraction of correct points of a found lane
MAX_RUN_TIME = 200  # milliseconds
EXTRA_LANES = 2  # predictions allowed in addition to the number of true lanes
COUNTED_LANES = 4  # with more true lanes, the worst is ignored
ABSENT_X = -100.0


def tusimple_image_scores(
    pred_xs: list, gt_xs: list, h_samples: list, run_time: float = 0.0
) -> tuple[float, float, float]:
    """Accuracy, false positive and false negative rate of one image, as TuSimple's evaluator.

    A point is correct if its distance in x to the true lane is less than 20 pixels divided by the
    cosine of the lane's slope. A negative or NaN x means that the lane does not reach this row; a
    row that neither lane reaches is correct. Each true lane is matched to its best prediction
    independently, so two lanes may share a prediction and the false positive rate may be negative.
    With more than four true lanes the worst is ignored and rates may exceed 1
    (https://github.com/TuSimple/tusimple-benchmark, ``evaluate/lane.py``).

    Args:
        pred_xs (list): (num_pred, R) x in pixels.
        gt_xs (list): (num_gt, R) x in pixels.
        h_samples (list): (R,) rows, y in pixels.
        run_time (float): Milliseconds; an image above 200 ms has accuracy 0.

    Returns:
        tuple[float, float, float]: Accuracy, false positive rate, false negative rate.

    Raises:
        ValueError: If the number of x of a lane differs from the number of rows.
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
    """Allowed distance in x, from a least-squares line x = slope * y + offset."""
    present = xs >= 0
    if present.sum() < 2:
        return POINT_TOLERANCE
    ys = rows[present] - rows[present].mean()
    slope = ys @ (xs[present] - xs[present].mean()) / (ys @ ys)
    return float(POINT_TOLERANCE / np.cos(np.arctan(slope)))
