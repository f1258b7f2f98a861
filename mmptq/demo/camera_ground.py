"""Ground and sky of a street scene as a camera sees them."""

from dataclasses import dataclass

import numpy as np

from mmptq.demo.camera_palette import Palette
from mmptq.demo.lidar_street import LANE, PARKING
from mmptq.demo.lidar_terrain import KERB, Terrain

_PAVEMENT = 5.5  # metres; beyond it grass, earth or gravel
_STEPS = 3  # as for laser rays
_LINE = 0.15  # metres, width of markings
_DASH, _PERIOD = 3.0, 9.0  # metres
_WHITE = np.array([215, 220, 220], np.float32)
_YELLOW = np.array([60, 180, 215], np.float32)
_SLABS = np.array([150, 155, 158], np.float32)


@dataclass
class Ground:
    """The street without anything on it.

    Attributes:
        terrain (Terrain): The ground.
        palette (Palette): Colours.
        tile (np.ndarray): (T, T) float32 repeating noise, about -1 to 1.
    """

    terrain: Terrain
    palette: Palette
    tile: np.ndarray

    def paint(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Paint what is behind all objects.

        Args:
            origin (np.ndarray): (3,) camera, street frame, metres.
            rays (np.ndarray): (h, w, 3) street frame, of depth 1.

        Returns:
            tuple: image (h, w, 3) float32, BGR 0-255, and depth (h, w) float32, metres, infinity
            in the sky.
        """
        flat = rays.reshape(-1, 3)
        depth = self._depth(origin, flat)
        lift = np.clip(flat[:, 2:] * 3, 0, 1)
        image = (self.palette.haze + (self.palette.sky - self.palette.haze) * lift).astype(
            np.float32
        )
        seen = np.flatnonzero(np.isfinite(depth))
        place = (origin[:2] + depth[seen, None] * flat[seen, :2]).astype(np.float32)
        steep = np.maximum(-flat[seen, 2], 1e-3)
        image[seen] = self._surface(place[:, 0], place[:, 1], depth[seen] / steep)
        shape = rays.shape[:2]
        return image.reshape(*shape, 3), depth.reshape(shape)

    def _depth(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """(R,) depth of the ground, as ``Terrain.intersect`` finds it, in single precision."""
        depth = np.full(len(rays), np.inf, np.float32)
        down = np.flatnonzero(rays[:, 2] < -1e-3)
        x, y, slope = np.ascontiguousarray(rays[down].T, np.float32)
        start = origin.astype(np.float32)
        found = -start[2] / slope
        for _ in range(_STEPS):
            reach = np.clip(found, 0, 500)
            height = self._height(start[0] + reach * x, start[1] + reach * y)
            found = (height - start[2]) / slope
        depth[down] = found
        return depth

    def _height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(R,) height of the ground, metres."""
        terrain = self.terrain
        height = np.float32(KERB) * (np.abs(y) > terrain.road_half_width)
        for amplitude, wave, phase in zip(
            terrain.amplitude, terrain.wave, terrain.phase, strict=True
        ):
            angle = x * np.float32(wave[0]) + y * np.float32(wave[1]) + np.float32(phase)
            height = height + np.float32(amplitude) * np.sin(angle)
        return height

    def _surface(self, x: np.ndarray, y: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """(P, 3) colours of points of the ground; ``reach`` grows with a pixel's footprint."""
        side, half = np.abs(y), self.terrain.road_half_width
        blur = np.maximum(reach * 0.0012, 0.03)[:, None].astype(np.float32)
        noise = (self._noise(x, y, 12.0) + 0.7 * self._noise(x, y, 70.0))[:, None]
        road = _step(half - side, blur)
        slabs = _step(half + _PAVEMENT - side, blur)
        colour = self.palette.verge + (_SLABS - self.palette.verge) * slabs + 14 * noise
        colour = colour + (self.palette.asphalt - colour) * road + 6 * noise * road
        colour = colour - 45 * _line(side - half, 0.25, blur)
        lanes = round((half - PARKING) / LANE)
        fade = np.clip(1.6 - blur * 4, 0.15, 1)
        colour = _blend(colour, _YELLOW, 0.8 * fade * _line(side - 0.14, _LINE, blur))
        colour = _blend(colour, _WHITE, 0.8 * fade * _line(side - lanes * LANE, _LINE, blur))
        dashes = (x % _PERIOD < _DASH)[:, None]
        for lane in range(1, lanes):
            share = 0.8 * fade * _line(side - lane * LANE, _LINE, blur) * dashes
            colour = _blend(colour, _WHITE, share)
        return colour

    def _noise(self, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
        """(P,) noise with ``scale`` cells per metre."""
        size = len(self.tile)
        rows, columns = ((value * scale).astype(np.int64) % size for value in (x, y))
        return self.tile[rows, columns]


def _step(inside: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """(P, 1) coverage of a half plane; ``inside`` is the distance from its edge, (P,) metres."""
    return np.clip(0.5 + inside[:, None].astype(np.float32) / blur, 0, 1)


def _line(distance: np.ndarray, width: float, blur: np.ndarray) -> np.ndarray:
    """(P, 1) coverage of a line of a width in metres."""
    return _step(distance + width / 2, blur) * _step(width / 2 - distance, blur)


def _blend(image: np.ndarray, colour: np.ndarray, share: np.ndarray) -> np.ndarray:
    return image + (colour - image) * share
