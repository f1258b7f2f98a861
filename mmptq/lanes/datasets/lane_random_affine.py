"""Random rotation, scaling and shift."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from .lane_transform import LaneTransform


@TRANSFORMS.register_module()
class LaneRandomAffine(LaneTransform):
    """Rotate and scale image and lanes around the image centre, then shift them.

    The image keeps its size; new border pixels have a constant colour. Each parameter is drawn
    uniformly from its range.

    Args:
        max_rotation (float): Largest angle in degrees, in both directions.
        scale_range (Sequence[float]): Smallest and largest factor.
        max_shift (Sequence[float]): Largest shift in x and y, in both directions, as a fraction of
            the width and the height.
        prob (float): Probability of a transform.
        border_value (Sequence[int]): Colour of new border pixels, in the image's channel order.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'),
        ...                   dict(type='LaneRandomAffine', max_rotation=10, prob=0.7)]
    """

    def __init__(
        self,
        max_rotation: float = 6.0,
        scale_range: Sequence[float] = (0.8, 1.2),
        max_shift: Sequence[float] = (0.1, 0.1),
        prob: float = 1.0,
        border_value: Sequence[int] = (0, 0, 0),
    ) -> None:
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(
                f'scale_range of LaneRandomAffine must be (low, high) with 0 < low <= high, got '
                f'{tuple(scale_range)}'
            )
        if not 0 <= prob <= 1:
            raise ValueError(f'prob of LaneRandomAffine must be between 0 and 1, got {prob}')
        self.max_rotation = max_rotation
        self.scale_range = tuple(scale_range)
        self.max_shift = tuple(max_shift)
        self.prob = prob
        self.border_value = tuple(border_value)

    @cache_randomness
    def _draw(self) -> tuple[float, float, float, float] | None:
        """Angle in degrees, scale factor and relative shift; None for no transform."""
        if np.random.rand() >= self.prob:
            return None
        return (
            np.random.uniform(-self.max_rotation, self.max_rotation),
            np.random.uniform(*self.scale_range),
            np.random.uniform(-self.max_shift[0], self.max_shift[0]),
            np.random.uniform(-self.max_shift[1], self.max_shift[1]),
        )

    def transform(self, results: dict) -> dict:
        """Move the image and the lanes.

        Args:
            results (dict): With ``img`` (H, W, C).

        Returns:
            dict: The same dict.
        """
        drawn = self._draw()
        if drawn is None:
            return results
        angle, factor, shift_x, shift_y = drawn
        height, width = results['img'].shape[:2]
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D(middle, angle, factor)
        matrix[:2, 2] += shift_x * width, shift_y * height
        image = cv2.warpAffine(
            results['img'], matrix[:2], (width, height), borderValue=self.border_value
        )
        self.set_image(results, image)
        self.move_lanes(results, matrix)
        return results
