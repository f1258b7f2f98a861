"""A camera above a flat curved road: conversion of road coordinates and pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

STRAIGHT_FROM = 80.0  # metres; beyond it a curve continues along its tangent
CULANE_SIZE = (1640, 590)  # pixels
_FOCAL = 1000.0  # pixels in an image of CULane's width


@dataclass(frozen=True)
class RoadView:
    """View of a road from a forward-looking camera.

    Road coordinates: ``lateral``, metres to the right of the centre of the camera's lane, and
    ``distance``, metres ahead.

    Attributes:
        width, height (int): Image size, pixels.
        horizon (float): Row of the horizon, pixels.
        camera_height (float): Metres above the road.
        offset (float): Metres from the camera to the centre of its lane, positive to the right.
        yaw (float): Slope of the road against the optical axis.
        curvature (float): 1 / radius, 1/metres, positive to the right.
    """

    width: int
    height: int
    horizon: float
    camera_height: float
    offset: float
    yaw: float
    curvature: float

    @classmethod
    def random(cls, rng: np.random.Generator, width: int, height: int, curved: bool) -> 'RoadView':
        """Draw a camera in CULane's proportions.

        Args:
            rng (np.random.Generator): Source of randomness.
            width, height (int): Image size, pixels.
            curved (bool): Whether the road has a visible bend.
        """
        radius = np.exp(rng.uniform(np.log(70), np.log(220)))
        curvature = rng.choice([-1, 1]) / radius if curved else rng.normal(0, 8e-4)
        return cls(
            width=width,
            height=height,
            horizon=height * rng.uniform(0.42, 0.48),
            camera_height=rng.uniform(1.15, 1.6),
            offset=rng.normal(0, 0.25),
            yaw=rng.normal(0, 0.025),
            curvature=curvature,
        )

    @property
    def scale(self) -> float:
        """Pixels of this image per pixel of CULane's."""
        return self.width / CULANE_SIZE[0]

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return _FOCAL * self.scale

    @property
    def top(self) -> int:
        """First row that shows the ground."""
        return int(self.horizon) + 1

    @cached_property
    def distances(self) -> np.ndarray:
        """(rows, 1) float32, metres ahead of each image row from ``top`` to the bottom."""
        rows = np.arange(self.top, self.height, dtype=np.float32)[:, None]
        return np.float32(self.focal * self.camera_height) / (rows - np.float32(self.horizon))

    @cached_property
    def footprints(self) -> np.ndarray:
        """(rows, 1) float32, metres across the road under one pixel of each ground row."""
        return self.distances / np.float32(self.focal)

    @cached_property
    def laterals(self) -> np.ndarray:
        """(rows, width) float32, metres right of the lane's centre for each ground pixel."""
        columns = np.arange(self.width, dtype=np.float32) - np.float32(self.width / 2)
        return columns * self.footprints - self.centre(self.distances).astype(np.float32)

    def centre(self, distance: np.ndarray) -> np.ndarray:
        """Return metres from the optical axis to the centre of the camera's lane."""
        near = np.minimum(distance, STRAIGHT_FROM)
        bend = self.curvature * near * (near / 2 + (distance - near))
        return self.offset + self.yaw * distance + bend

    def project(self, lateral: np.ndarray, distance: np.ndarray, up: float = 0.0) -> np.ndarray:
        """Map points on or above the road to pixels.

        Args:
            lateral, distance (np.ndarray): (N,) metres; distances above zero.
            up (float): Metres above the road.

        Returns:
            np.ndarray: (N, 2) x and y, pixels.
        """
        distance = np.asarray(distance, dtype=np.float64)
        x = self.width / 2 + self.focal * (lateral + self.centre(distance)) / distance
        y = self.horizon + self.focal * (self.camera_height - up) / distance
        return np.stack([x, y], axis=-1)

    def lane_points(self, lateral: float) -> np.ndarray:
        """Return the label of a marking in CULane's form.

        Points inside the image, every ten rows of CULane's images, from the bottom to just below
        the horizon.

        Args:
            lateral (float): Metres from the centre of the camera's lane.

        Returns:
            np.ndarray: (N, 2) float64 x and y, pixels, bottom to top; empty if the marking is
            hardly visible.
        """
        step = 10 * self.scale
        y = np.arange(self.height - 1, self.horizon + 1.8 * step, -step)
        distance = self.focal * self.camera_height / (y - self.horizon)
        x = self.project(lateral, distance)[:, 0]
        inside = (x >= 0) & (x <= self.width - 1)
        points = np.stack([x, y], axis=1)[inside]
        return points if len(points) >= 6 else np.empty((0, 2))
