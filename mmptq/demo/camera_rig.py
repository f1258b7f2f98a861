"""Six cameras around the vehicle, in the order in which mmdet3d merges their detections."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A camera without distortion that looks horizontally.

    Attributes:
        channel (str): nuScenes name.
        degrees (float): Direction of the optical axis against the vehicle's, counter-clockwise.
        position (tuple[float, float, float]): In the vehicle's frame (x ahead, y left, z up),
            metres above the ground behind the rear axle.
    """

    channel: str
    degrees: float
    position: tuple[float, float, float]

    @property
    def to_ego(self) -> np.ndarray:
        """(4, 4) transform from the camera (x right, y down, z ahead) to the vehicle."""
        cosine, sine = np.cos(np.radians(self.degrees)), np.sin(np.radians(self.degrees))
        matrix = np.eye(4)
        matrix[:3, :3] = [[sine, 0, cosine], [-cosine, 0, sine], [0, -1, 0]]
        matrix[:3, 3] = self.position
        return matrix

    @property
    def rotation(self) -> list[float]:
        """The rotation of ``to_ego`` as a quaternion w, x, y, z."""
        half = np.radians(self.degrees) / 2
        total = float(np.cos(half) + np.sin(half)) / 2
        difference = float(np.cos(half) - np.sin(half)) / 2
        return [total, -total, difference, -difference]

    def __reduce__(self) -> tuple:
        """Pickle by name: info files are the same whichever process took a picture."""
        return _camera, (self.channel,)


def _camera(channel: str) -> Camera:
    """The camera of this name."""
    return next(camera for camera in CAMERAS if camera.channel == channel)


CAMERAS = (
    Camera('CAM_FRONT', 0, (1.7, 0.0, 1.51)),
    Camera('CAM_FRONT_RIGHT', -60, (1.55, -0.49, 1.5)),
    Camera('CAM_FRONT_LEFT', 60, (1.55, 0.49, 1.5)),
    Camera('CAM_BACK', 180, (0.03, 0.0, 1.57)),
    Camera('CAM_BACK_LEFT', 120, (1.03, 0.48, 1.56)),
    Camera('CAM_BACK_RIGHT', -120, (1.03, -0.48, 1.56)),
)
_FOCAL = 0.755  # of the image's width: 67 degrees, as nuScenes' front camera has about


def intrinsic_matrix(width: int, height: int) -> np.ndarray:
    """Return the (3, 3) matrix of all cameras; the corner of the first pixel is (0, 0)."""
    focal = _FOCAL * width
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
