"""Take the pictures of a keyframe with all cameras of the vehicle."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmptq.demo.camera_renderer import CameraRenderer
from mmptq.demo.camera_rig import CAMERAS, Camera, intrinsic_matrix
from mmptq.demo.camera_solids import Viewpoint
from mmptq.demo.lidar_scene import LidarScene, Pose
from mmptq.demo.lidar_solids import STATIC

_QUALITY = 92  # of the JPEG files


@dataclass
class View:
    """One camera in one keyframe.

    Attributes:
        camera (Camera): Which one.
        filename (str): Path within the data set.
        width, height (int): Pixels.
        pixels (np.ndarray): (A,) number of pixels that show each object of the scene.
    """

    camera: Camera
    filename: str
    width: int
    height: int
    pixels: np.ndarray

    @property
    def intrinsic(self) -> np.ndarray:
        """(3, 3) from camera coordinates to pixels."""
        return intrinsic_matrix(self.width, self.height)


def camera_folders() -> list[str]:
    """Return the folders of the images within the data set."""
    return [f'samples/{camera.channel}' for camera in CAMERAS]


class Photographer:
    """Take and write the pictures of one scene.

    Args:
        rng (np.random.Generator): Source of randomness, apart from that of the LiDAR.
        scene (LidarScene): The scene.
        folder (Path): Root of the data set; ``camera_folders`` exist.
        size (tuple[int, int]): Width and height, pixels.
        prefix (str): First part of the file names.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        scene: LidarScene,
        folder: Path,
        size: tuple[int, int],
        prefix: str,
    ) -> None:
        self.scene = scene
        self.folder = folder
        self.size = size
        self.prefix = prefix
        self.renderer = CameraRenderer(rng, scene)

    def take(self, pose: Pose, time: float, timestamp: int) -> list[View]:
        """Take one picture with each camera.

        Args:
            pose (Pose): The vehicle in the street.
            time (float): Seconds since the start of the scene.
            timestamp (int): Microseconds.

        Raises:
            OSError: If a file cannot be written.
        """
        return [self._take(camera, pose, time, timestamp) for camera in CAMERAS]

    def _take(self, camera: Camera, pose: Pose, time: float, timestamp: int) -> View:
        width, height = self.size
        place = pose_matrix(pose) @ camera.to_ego
        view = Viewpoint.of(place, intrinsic_matrix(width, height), width, height)
        picture = self.renderer.render(view, time)
        name = f'samples/{camera.channel}/{self.prefix}__{camera.channel}__{timestamp}.jpg'
        path = self.folder / name
        if not cv2.imwrite(str(path), picture.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
            raise OSError(f"cannot write '{path}': is the disk full?")
        seen = picture.owner[picture.owner != STATIC]
        pixels = np.bincount(seen, minlength=len(self.scene.actors))
        return View(camera, name, width, height, pixels)


def pose_matrix(pose: Pose) -> np.ndarray:
    """Return the (4, 4) transform from the vehicle to the street."""
    cosine, sine = np.cos(pose.yaw), np.sin(pose.yaw)
    return np.array(
        [[cosine, -sine, 0, pose.x], [sine, cosine, 0, pose.y], [0, 0, 1, pose.z], [0, 0, 0, 1]]
    )
