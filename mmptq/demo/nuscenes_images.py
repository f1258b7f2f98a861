"""What info files of mmdet3d say of the images: calibration and the objects in each of them."""

from pathlib import Path

import cv2
import numpy as np

from mmptq.demo.nuscenes_cameras import View
from mmptq.demo.nuscenes_recording import LIDAR_TO_EGO, Frame, Label

# The order of mmdet3d's converter and of its nuScenes metric.
ATTRIBUTES = (
    'cycle.with_rider',
    'cycle.without_rider',
    'pedestrian.moving',
    'pedestrian.standing',
    'pedestrian.sitting_lying_down',
    'vehicle.moving',
    'vehicle.parked',
    'vehicle.stopped',
    '',
)
LEAST_PIXELS = 10
LEAST_SHARE = 0.12  # of the 2D box, so that objects behind others are left out
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float) / 2


def image_info(view: View, frame: Frame, token: str) -> dict:
    """Return the entry of one camera in ``images``.

    Args:
        view (View): The picture.
        frame (Frame): Its keyframe.
        token (str): Of its record in ``sample_data``.
    """
    cam_to_ego = view.camera.to_ego
    return dict(
        img_path=Path(view.filename).name,
        cam2img=view.intrinsic.tolist(),
        cam2ego=cam_to_ego.tolist(),
        sample_data_token=token,
        timestamp=frame.timestamp / 1e6,
        lidar2cam=(np.linalg.inv(cam_to_ego) @ LIDAR_TO_EGO).tolist(),
    )


def image_instances(view: View, frame: Frame, classes: tuple[str, ...]) -> list[dict]:
    """Return the objects that a camera sees, in its own coordinates (x right, y down, z ahead).

    Args:
        view (View): The picture.
        frame (Frame): Its keyframe.
        classes (tuple[str, ...]): Evaluated classes; others are left out.
    """
    to_camera = np.linalg.inv(frame.ego_to_global @ view.camera.to_ego)
    found = []
    for label in frame.labels:
        if label.detection_class in classes and view.pixels[label.actor] >= LEAST_PIXELS:
            instance = _instance(label, view, to_camera, classes.index(label.detection_class))
            if instance is not None:
                found.append(instance)
    return found


def _instance(label: Label, view: View, to_camera: np.ndarray, index: int) -> dict | None:
    """One object, or None if its centre is behind the camera or too little of it is seen."""
    rotation, shift = to_camera[:3, :3], to_camera[:3, 3]
    centre = rotation @ label.centre + shift
    heading = np.array([np.cos(label.yaw), np.sin(label.yaw), 0.0])
    side = np.array([-np.sin(label.yaw), np.cos(label.yaw), 0.0])
    length, width, height = label.size
    axes = np.stack([heading * length, side * width, np.array([0, 0, height])])
    corners = centre + _CORNERS @ axes @ rotation.T
    box = outline(corners, view.intrinsic, view.width, view.height)
    if centre[2] <= 0 or box is None:
        return None
    left, top, right, bottom = box
    if view.pixels[label.actor] < LEAST_SHARE * (right - left) * (bottom - top):
        return None
    ahead = rotation @ heading
    velocity = rotation @ np.append(label.velocity, 0.0)
    return dict(
        bbox_label=index,
        bbox_label_3d=index,
        bbox=box,
        bbox_3d=[*centre.tolist(), length, height, width, float(-np.arctan2(ahead[2], ahead[0]))],
        bbox_3d_isvalid=label.points > 0,
        center_2d=(view.intrinsic @ (centre / centre[2]))[:2].tolist(),
        depth=float(centre[2]),
        attr_label=ATTRIBUTES.index(label.attribute),
        velocity=[float(velocity[0]), float(velocity[2])],
    )


def outline(
    corners: np.ndarray, intrinsic: np.ndarray, width: int, height: int
) -> list[float] | None:
    """Return the 2D box (left, top, right, bottom) of a 3D box within the image, as mmdet3d does.

    Args:
        corners (np.ndarray): (8, 3) in the camera's coordinates; those behind it are left out.
        intrinsic (np.ndarray): (3, 3).
        width, height (int): Of the image, pixels.

    Returns:
        list[float] | None: Pixels; None if the box is outside the image.
    """
    ahead = corners[corners[:, 2] > 0.1]
    if len(ahead) < 3:
        return None
    points = (ahead @ intrinsic.T)[:, :2] / ahead[:, 2:]
    hull = cv2.convexHull(points.astype(np.float32))
    canvas = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area, common = cv2.intersectConvexConvex(hull, canvas)
    if area <= 0:
        return None
    low, high = common.reshape(-1, 2).min(axis=0), common.reshape(-1, 2).max(axis=0)
    return [float(value) for value in (*low, *high)]
