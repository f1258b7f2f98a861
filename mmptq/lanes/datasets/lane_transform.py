"""What geometric transforms of lane images have in common."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmptq.lanes.geometry.lane_geometry import move_points


class LaneTransform(BaseTransform):
    """Base of transforms that move lanes together with the image.

    Points that leave the image stay in the lane, so that a later transform may bring them back;
    :class:`PackLaneInputs` cuts lanes off at the border in the end. All moves are collected in
    ``homography_matrix`` (original image to current image), by which
    :func:`~mmptq.lanes.geometry.lane_geometry.lanes_to_original` brings predictions back.
    """

    def move_lanes(self, results: dict, matrix: np.ndarray) -> None:
        """Move ``gt_lanes``, if there are any, and record the move.

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
        """Put the new image and its size in place."""
        results['img'] = image
        results['img_shape'] = image.shape[:2]
