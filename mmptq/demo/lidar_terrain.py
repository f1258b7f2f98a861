"""The ground of a LiDAR scene: gentle waves, a road and raised pavements."""

from dataclasses import dataclass

import numpy as np

KERB = 0.12  # height of pavements above the road in metres
_ITERATIONS = 3  # fixed-point steps; slopes are about 1 %, so each step gains two digits


@dataclass
class Terrain:
    """Ground height over the street plane (x along the street, y across).

    Attributes:
        amplitude (np.ndarray): (K,) wave heights, metres.
        wave (np.ndarray): (K, 2) wave vectors, radians per metre.
        phase (np.ndarray): (K,) radians.
        road_half_width (float): Distance of the pavements from the centre, metres.
    """

    amplitude: np.ndarray
    wave: np.ndarray
    phase: np.ndarray
    road_half_width: float

    @classmethod
    def random(cls, rng: np.random.Generator, road_half_width: float) -> 'Terrain':
        """Return a terrain of four random waves of 30 to 120 m length."""
        length = rng.uniform(30, 120, 4)
        angle = rng.uniform(0, 2 * np.pi, 4)
        wave = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (2 * np.pi / length)[:, None]
        return cls(0.002 * length, wave, rng.uniform(0, 2 * np.pi, 4), road_half_width)

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the ground height in metres at points of any common shape."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        angle = x[..., None] * self.wave[:, 0] + y[..., None] * self.wave[:, 1] + self.phase
        waves = (self.amplitude * np.sin(angle)).sum(axis=-1)
        return waves + KERB * (np.abs(y) > self.road_half_width)

    def intersect(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Return the distance to the ground along each ray, infinity for rays going up.

        Args:
            origin (np.ndarray): (3,) start of all rays, metres.
            rays (np.ndarray): (R, 3) unit directions.

        Returns:
            np.ndarray: (R,) metres.
        """
        distance = np.full(len(rays), np.inf)
        down = rays[:, 2] < -1e-3
        direction = rays[down]
        found = -origin[2] / direction[:, 2]
        for _ in range(_ITERATIONS):
            place = origin + np.clip(found, 0, 500)[:, None] * direction
            found = (self.height(place[:, 0], place[:, 1]) - origin[2]) / direction[:, 2]
        distance[down] = found
        return distance

    def is_pavement(self, origin: np.ndarray, rays: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Return (R,) whether each ray at its distance is beside the road."""
        reach = np.where(np.isfinite(distance), distance, 0)
        return np.abs(origin[1] + reach * rays[:, 1]) > self.road_half_width
