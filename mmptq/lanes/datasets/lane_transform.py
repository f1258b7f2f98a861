"""Base of the geometric transforms of lane images."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmptq.lanes.geometry.lane_geometry import move_points


class LaneTransform(BaseTransform):
    """Base of transforms that move lanes together with the image.

    Points that leave the image are kept, because a later transform may move them back;
    :class:`PackLaneInputs` finally clips lanes to the image. ``homography_matrix`` accumulates all
    transforms (original image to current image);
    :func:`~mmptq.lanes.geometry.lane_geometry.lanes_to_original` inverts it for predictions.
    """

    def move_lanes(self, results: dict, matrix: np.ndarray) -> None:
        """Transform ``gt_lanes``, if there are any, and update ``homography_matrix``.

        Args:
            results (dict): Changed in place.
            matrix (np.ndarray): (3, 3) map from the image before to the image after.
        """
        lanes = results.get('gt_lanes')
        if lanes is not None:
            results['gt_lanes'] = [move_points(p, matrix).astype(np.float32) for p in lanes]
        before = results.get('homography_matrix', np.eye(3))
        results['homography_matrix'] = matrix @ before

    def set_image(self, results: dict, image: np.ndarray) -> None:
        """Set the new image and its size."""
        results['img'] = image
        results['img_shape'] = image.shape[:2]
