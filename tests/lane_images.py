"""Images whose lane points are marked by spots, so that a test sees where they go."""

import cv2
import numpy as np
from mmdet.registry import TRANSFORMS

import mmptq.lanes.datasets  # noqa: F401

POINTS = np.array([[60.0, 100], [90, 80], [130, 60]], dtype=np.float32)


def marked() -> dict:
    """Results of a 200x120 image with a Gaussian spot at each point, one per channel."""
    xs, ys = np.meshgrid(np.arange(200), np.arange(120))
    spots = [np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 18) for x, y in POINTS]
    image = (255 * np.stack(spots, axis=2)).astype(np.uint8)
    return dict(
        img=image,
        img_path='a.jpg',
        ori_shape=image.shape[:2],
        img_shape=image.shape[:2],
        gt_lanes=[POINTS.copy(), np.array([[-20, 110], [20.0, 90]], dtype=np.float32)],
        gt_lane_slots=np.array([2, 0]),
        num_lane_slots=4,
    )


def apply(results: dict, *steps: dict) -> dict:
    """Results after some transforms."""
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    return results


def largest_miss(results: dict) -> float:
    """Largest distance between a point of the first lane and its spot, in pixels."""
    centres = []
    for channel in range(3):
        m = cv2.moments(np.ascontiguousarray(results['img'][..., channel]))
        centres.append([m['m10'] / m['m00'], m['m01'] / m['m00']])
    return float(np.abs(results['gt_lanes'][0] - centres).max())
