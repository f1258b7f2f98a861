"""How far quantization moves the lanes of an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment

from .lane_points import lane_xs, to_point_arrays

# Width in pixels that CULane's metric draws lanes with.
DRAWN_WIDTH = 30.0


@TASK_UTILS.register_module()
class LaneDistortion:
    """Lane distortion score of predictions, image by image, without labels.

    It compares what ``Adapter.decode`` returns for the raw outputs of the float model and for
    those of the quantized model, or for raw outputs in which one head was changed. It is not
    differentiable: it ranks heads and is no training loss.

    Args:
        row_step (float): Distance of the compared rows in pixels of the original image, counted
            from its lower border. Defaults to 10, TuSimple's distance.
        penalty (float): See :func:`lane_distortion`. Defaults to 30.

    Example:
        >>> distortion = TASK_UTILS.build(dict(type='LaneDistortion'))
        >>> distortion(adapter.decode(raw, data), adapter.decode(changed, data))
        [1.7, 0.0]
    """

    def __init__(self, row_step: float = 10.0, penalty: float = DRAWN_WIDTH):
        if row_step <= 0:
            raise ValueError(f'row_step of LaneDistortion must be positive, got {row_step}')
        self.row_step = row_step
        self.penalty = _checked(penalty)

    def __call__(self, float_samples: Sequence, quantized_samples: Sequence) -> list[float]:
        """Scores in pixels per lane point.

        Args:
            float_samples (Sequence[BaseDataElement]): With ``pred_lanes`` in pixels of the
                original image, and ``ori_shape``.
            quantized_samples (Sequence[BaseDataElement]): The same images in the same order.

        Returns:
            list[float]: One score per image.

        Raises:
            ValueError: If a sample has no ``pred_lanes``, or the numbers of samples differ.
        """
        return [
            lane_distortion(_lanes(one), _lanes(other), self._rows(one), self.penalty)
            for one, other in zip(float_samples, quantized_samples, strict=True)
        ]

    def _rows(self, sample: Any) -> np.ndarray:
        return np.arange(sample.metainfo['ori_shape'][0], -1, -self.row_step)


def lane_distortion(
    float_lanes: Sequence,
    quantized_lanes: Sequence,
    rows: Sequence[float],
    penalty: float = DRAWN_WIDTH,
) -> float:
    r"""Distance of the lanes before and after quantization, plus a penalty for lost points.

    Lanes are compared at fixed rows. A pair of lanes costs the sum of :math:`|x - x^q|` over the
    rows that both reach, plus ``penalty`` for each row that only one reaches. An unmatched lane
    costs ``penalty`` for each of its rows. A one-to-one matching minimises the total cost, which is
    divided by the number of float lane points.

    The score is 0 for equal lanes, t pixels if all lanes move by t < ``penalty``, and ``penalty``
    if all lanes are lost. It is continuous when a lane moves sideways: a pair is separated when its
    mean distance reaches twice the penalty, where matched and unmatched lanes cost the same.

    Note:
        Selective Focus (https://arxiv.org/abs/2405.06264) ranks heads by a lane distortion score,
        a distance plus a penalty for points without counterpart. The complete formula is not
        public: matching, normalisation and penalty are inferred here. Not differentiable.

    Args:
        float_lanes (Sequence[np.ndarray or Tensor]): (N, 2) points each, in pixels.
        quantized_lanes (Sequence[np.ndarray or Tensor]): (N, 2) points each, in pixels.
        rows (Sequence[float]): (R,) rows at which lanes are compared, y in pixels.
        penalty (float): Pixels per point without counterpart. Defaults to 30, the width that
            CULane's metric draws lanes with.

    Returns:
        float: Pixels per float lane point. Without float lanes, the sum over the quantized ones.

    Raises:
        ValueError: If a lane is not (N, 2) or the penalty is not positive.
    """
    penalty = _checked(penalty)
    rows = np.asarray(rows, dtype=np.float64)
    one = _xs_at(to_point_arrays(float_lanes, 'float_lanes'), rows)
    other = _xs_at(to_point_arrays(quantized_lanes, 'quantized_lanes'), rows)
    distances = np.abs(one[:, None] - other[None])
    shared = ~np.isnan(distances)
    lengths_one, lengths_other = (~np.isnan(one)).sum(axis=1), (~np.isnan(other)).sum(axis=1)
    unmatched = penalty * (lengths_one[:, None] + lengths_other[None])
    paired = np.nansum(distances, axis=2) + unmatched - 2 * penalty * shared.sum(axis=2)
    # What a match saves; matches that save nothing are dropped.
    savings = np.maximum(unmatched - paired, 0)
    matches = linear_sum_assignment(savings, maximize=True)
    total = penalty * (lengths_one.sum() + lengths_other.sum()) - savings[matches].sum()
    return float(total / max(1, lengths_one.sum()))


def _checked(penalty: float) -> float:
    if penalty <= 0:
        raise ValueError(f'penalty of the lane distortion must be positive, got {penalty}')
    return penalty


def _lanes(sample: Any) -> Sequence:
    if 'pred_lanes' not in sample:
        raise ValueError(
            'a sample has no pred_lanes: LaneDistortion compares predictions of lane detectors'
        )
    return sample.pred_lanes


def _xs_at(lanes: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(num_lanes, R) x at the rows; NaN at rows that a lane does not reach."""
    return np.array([lane_xs(points, rows) for points in lanes]).reshape(len(lanes), len(rows))
