"""Crop the sky."""

import numpy as np
from mmdet.registry import TRANSFORMS

from mmptq.utils.messages import DataError

from .lane_transform import LaneTransform


@TRANSFORMS.register_module()
class LaneCropTop(LaneTransform):
    """Crop the upper rows, which show sky and no lanes.

    Adds ``crop_offset``, (0, rows): the cropped pixels on the left and at the top, at this step of
    the pipeline.

    Args:
        rows (int): Number of rows in pixels.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LaneCropTop', rows=240)]
    """

    def __init__(self, rows: int) -> None:
        if rows < 0:
            raise ValueError(f'rows of LaneCropTop must be at least 0, got {rows}')
        self.rows = rows

    def transform(self, results: dict) -> dict:
        """Crop the image and move the lanes up.

        Args:
            results (dict): With ``img`` (H, W, C).

        Returns:
            dict: The same dict.

        Raises:
            DataError: If no row would be left.
        """
        height, width = results['img'].shape[:2]
        if self.rows >= height:
            raise DataError(
                f"'{results.get('img_path')}' is {width}x{height} pixels: LaneCropTop(rows="
                f'{self.rows}) leaves no rows; choose a smaller number'
            )
        self.set_image(results, results['img'][self.rows :])
        results['crop_offset'] = (0, self.rows)
        self.move_lanes(results, np.array([[1.0, 0, 0], [0, 1, -self.rows], [0, 0, 1]]))
        return results
