"""Resize to a fixed size."""

import mmcv
import numpy as np
from mmdet.registry import TRANSFORMS

from .lane_transform import LaneTransform


@TRANSFORMS.register_module()
class LaneResize(LaneTransform):
    """Resize image and lanes to a fixed size; the aspect ratio may change.

    Coordinates are multiplied by the scale factor, as mmdet does for boxes and the lane papers for
    lanes. Adds ``scale_factor`` (width, height).

    Args:
        scale (tuple[int, int]): New width and height in pixels.
        interpolation (str): Argument of :func:`mmcv.imresize`.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'),
        ...                   dict(type='LaneResize', scale=(800, 288))]
    """

    def __init__(self, scale: tuple[int, int], interpolation: str = 'bilinear') -> None:
        if len(scale) != 2 or min(scale) < 1:
            raise ValueError(f'scale of LaneResize must be two positive sizes, got {tuple(scale)}')
        self.scale = tuple(scale)
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize the image and move the lanes.

        Args:
            results (dict): With ``img`` (H, W, C).

        Returns:
            dict: The same dict.
        """
        height, width = results['img'].shape[:2]
        image = mmcv.imresize(results['img'], self.scale, interpolation=self.interpolation)
        self.set_image(results, image)
        factors = self.scale[0] / width, self.scale[1] / height
        results['scale_factor'] = factors
        self.move_lanes(results, np.diag([*factors, 1.0]))
        return results
