"""Random mirroring."""

import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from .lane_transform import LaneTransform


@TRANSFORMS.register_module()
class LaneRandomFlip(LaneTransform):
    """Mirror image and lanes from left to right.

    The middle of pixel x goes to the middle of pixel ``width - 1 - x``. Lane positions
    (``gt_lane_slots``) are counted from the left, so they change places too. Adds ``flip`` and
    ``flip_direction``.

    Args:
        prob (float): Share of the images that are mirrored.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LaneRandomFlip')]
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'LaneRandomFlip needs a prob between 0 and 1, not {prob}')
        self.prob = prob

    @cache_randomness
    def _flips(self) -> bool:
        """Whether this image is mirrored."""
        return bool(np.random.rand() < self.prob)

    def transform(self, results: dict) -> dict:
        """Flip or not.

        Args:
            results (dict): With ``img`` (H, W, C).

        Returns:
            dict: The same dict.
        """
        results['flip'] = self._flips()
        results['flip_direction'] = 'horizontal' if results['flip'] else None
        if not results['flip']:
            return results
        width = results['img'].shape[1]
        self.set_image(results, mmcv.imflip(results['img'], 'horizontal'))
        self.move_lanes(results, np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]))
        if 'gt_lane_slots' in results:
            slots = results['gt_lane_slots']
            mirrored = results.get('num_lane_slots', 0) - 1 - slots
            results['gt_lane_slots'] = np.where(slots >= 0, mirrored, slots)
        return results
