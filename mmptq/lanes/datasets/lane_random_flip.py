"""Random horizontal flip."""

import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from .lane_transform import LaneTransform


@TRANSFORMS.register_module()
class LaneRandomFlip(LaneTransform):
    """Flip image and lanes horizontally.

    The centre of pixel x moves to the centre of pixel ``width - 1 - x``. Lane positions
    (``gt_lane_slots``) are counted from the left and are flipped too. Adds ``flip`` and
    ``flip_direction``.

    Args:
        prob (float): Probability of a flip.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LaneRandomFlip')]
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob of LaneRandomFlip must be between 0 and 1, got {prob}')
        self.prob = prob

    @cache_randomness
    def _flips(self) -> bool:
        """Whether this image is flipped."""
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
