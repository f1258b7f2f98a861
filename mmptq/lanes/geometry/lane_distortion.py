"""How far quantization moves the lanes of an image."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from .lane_points import lane_xs, to_point_arrays


def lane_distortion(
    float_lanes: Sequence,
    quantized_lanes: Sequence,
    rows: Sequence[float],
    penalty: float = 30.0,
) -> float:
    r"""Distance of the lanes before and after quantization, plus a penalty for lost points.

    Lanes are read at fixed rows. A pair of lanes costs the sum of :math:`|x - x^q|` over the rows
    that both reach and ``penalty`` for each row that only one reaches; a lane without partner costs
    ``penalty`` for each of its rows. Lanes are paired one to one so that the total is least, and it
    is divided by the number of float lane points. So the score is 0 for equal lanes, t pixels for
    lanes that all move by t below the penalty, ``penalty`` when all lanes are lost, and it never
    jumps while a lane moves sideways: two lanes part when their mean distance reaches twice the
    penalty, where pair and parted lanes cost the same.

    Note:
        Selective Focus (https://arxiv.org/abs/2405.06264) ranks heads by a lane distortion score
        made of a distance and a penalty for points without counterpart. Its formula is not public
        in full: this one, its matching, normalisation and penalty are our reading (inferred), not
        the paper's. Not differentiable.

    Args:
        float_lanes (Sequence[np.ndarray or Tensor]): (N, 2) points each, in pixels.
        quantized_lanes (Sequence[np.ndarray or Tensor]): (N, 2) points each, in pixels.
        rows (Sequence[float]): (R,) rows at which lanes are compared, y in pixels.
        penalty (float): Pixels per point without counterpart; 30 is the width that CULane draws.

    Returns:
        float: Pixels per float lane point. Without any, the sum over the others.

    Raises:
        ValueError: If a lane is not (N, 2) or the penalty is not positive.
    """
    if penalty <= 0:
        raise ValueError(f'the penalty of lane_distortion must be positive, not {penalty}')
    rows = np.asarray(rows, dtype=np.float64)
    one = _xs_at(to_point_arrays(float_lanes, 'float_lanes'), rows)
    other = _xs_at(to_point_arrays(quantized_lanes, 'quantized_lanes'), rows)
    distances = np.abs(one[:, None] - other[None])
    shared = ~np.isnan(distances)
    lengths_one, lengths_other = (~np.isnan(one)).sum(axis=1), (~np.isnan(other)).sum(axis=1)
    parted = penalty * (lengths_one[:, None] + lengths_other[None])
    paired = np.nansum(distances, axis=2) + parted - 2 * penalty * shared.sum(axis=2)
    # What pairing saves; a pair that saves nothing is left apart.
    savings = np.maximum(parted - paired, 0)
    matches = linear_sum_assignment(savings, maximize=True)
    total = penalty * (lengths_one.sum() + lengths_other.sum()) - savings[matches].sum()
    return float(total / max(1, lengths_one.sum()))


def _xs_at(lanes: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(num_lanes, R) x at the rows, NaN where a lane does not reach."""
    return np.array([lane_xs(points, rows) for points in lanes]).reshape(len(lanes), len(rows))
