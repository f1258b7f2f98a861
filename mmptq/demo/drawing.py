"""Draw a textured object into an image with antialiased edges."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmptq.demo.textures import TEXTURES

_SHIFT = 4  # fractional bits of cv2's polygon coordinates


@dataclass(frozen=True)
class Pose:
    """Position, size and rotation of an object.

    Attributes:
        x, y (float): Centre, pixels.
        half_width, half_height (float): Half extents before the rotation, pixels.
        angle (float): Counter-clockwise rotation, radians.
    """

    x: float
    y: float
    half_width: float
    half_height: float
    angle: float

    @property
    def reach(self) -> float:
        """Distance from the centre to the farthest corner, pixels."""
        return float(np.hypot(self.half_width, self.half_height))

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Map (N, 2) object coordinates in [-1, 1] to (N, 2) pixels."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        x, y = points[:, 0] * self.half_width, points[:, 1] * self.half_height
        return np.stack([self.x + cosine * x - sine * y, self.y + sine * x + cosine * y], axis=1)

    def to_object(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map pixel coordinates to object coordinates; inside the object both are in [-1, 1]."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        x, y = x - self.x, y - self.y
        return (cosine * x + sine * y) / self.half_width, (cosine * y - sine * x) / self.half_height


def window(pose: Pose, width: int, height: int) -> tuple[slice, slice]:
    """Return the (rows, columns) of the image that the object can touch."""
    reach = pose.reach + 2
    top, left = int(max(pose.y - reach, 0)), int(max(pose.x - reach, 0))
    bottom, right = int(min(pose.y + reach + 1, height)), int(min(pose.x + reach + 1, width))
    return slice(top, max(bottom, top)), slice(left, max(right, left))


def coverage(contours: list[np.ndarray], pose: Pose, rows: slice, columns: slice) -> np.ndarray:
    """Rasterize a silhouette.

    Args:
        contours (list[np.ndarray]): (N, 2) each, object coordinates; inner ones are holes.
        pose (Pose): Position, size and rotation.
        rows, columns (slice): Part of the image to fill.

    Returns:
        np.ndarray: (rows, columns) float32 in [0, 1].
    """
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    mask = np.zeros(shape, np.uint8)
    offset = np.array([columns.start, rows.start])
    points = [
        np.round((pose.to_image(contour) - offset) * 2**_SHIFT).astype(np.int32)
        for contour in contours
    ]
    cv2.fillPoly(mask, points, 255, cv2.LINE_AA, _SHIFT)
    return mask.astype(np.float32) / 255


def random_colours(rng: np.random.Generator) -> np.ndarray:
    """Return two (2, 3) BGR colours, 0-255, that differ clearly in brightness."""
    dark = rng.uniform(10, 130, 3)
    bright = np.clip(dark + rng.uniform(50, 140) + rng.uniform(-30, 30, 3), 0, 255)
    colours = np.stack([dark, bright])
    return colours[rng.permutation(2)].astype(np.float32)


def paint(
    image: np.ndarray, mask: np.ndarray, texture: str, pose: Pose, rng: np.random.Generator
) -> None:
    """Paint a texture with side light through a mask, in place.

    Args:
        image (np.ndarray): (h, w, 3) float32 window of the image, BGR 0-255.
        mask (np.ndarray): (h, w) float32 opacity.
        texture (str): Key of TEXTURES.
        pose (Pose): The object's pose in window coordinates.
        rng (np.random.Generator): Source of colours, texture phase and light.
    """
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    u, v = pose.to_object(x, y)
    mix = TEXTURES[texture](rng, u, v)[..., None]
    first, second = random_colours(rng)
    light = rng.uniform(0, 2 * np.pi)
    shade = 1 + rng.uniform(0, 0.35) * (np.cos(light) * u + np.sin(light) * v)[..., None]
    surface = (first * (1 - mix) + second * mix) * shade
    opacity = mask[..., None]
    image *= 1 - opacity
    image += opacity * np.clip(surface, 0, 255)
