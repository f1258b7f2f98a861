"""Vehicles and roadside objects, drawn as boxes and walls in perspective."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmptq.demo.road_layout import RoadLayout
from mmptq.demo.road_view import RoadView

_SHIFT = 4  # fractional bits of cv2's polygon coordinates
_NEAREST = 2.0  # metres; nearer points cannot be projected
_FARTHEST = 120.0  # metres


@dataclass(frozen=True)
class Vehicle:
    """A box on wheels.

    Attributes:
        lateral (float): Metres from the centre of the camera's lane to its middle.
        distance (float): Metres to its near end.
        width, height, length (float): Metres.
        colour (tuple[float, float, float]): BGR 0-255.
        oncoming (bool): Whether its front is visible.
    """

    lateral: float
    distance: float
    width: float
    height: float
    length: float
    colour: tuple[float, float, float]
    oncoming: bool


def random_traffic(rng: np.random.Generator, layout: RoadLayout, dense: bool) -> list[Vehicle]:
    """Draw vehicles in the lanes of a road, the farthest first.

    Args:
        rng (np.random.Generator): Source of randomness.
        layout (RoadLayout): The road.
        dense (bool): Whether most lanes are occupied.
    """
    vehicles = []
    first_own = layout.oncoming - layout.lanes_left
    for lane in range(-min(layout.lanes_left, 3), min(layout.lanes_right, 3) + 1):
        distance = rng.uniform(8, 22) if lane == 0 else rng.uniform(2.5, 16)
        while distance < 90:
            if rng.random() < (0.85 if dense else 0.25):
                lateral = lane * layout.lane_width + rng.normal(0, 0.25)
                vehicle = _random_vehicle(rng, lateral, distance, lane < first_own)
                vehicles.append(vehicle)
                distance += vehicle.length
            distance += rng.uniform(4, 14) if dense else rng.uniform(10, 45)
    return sorted(vehicles, key=lambda vehicle: -vehicle.distance)


def _random_vehicle(
    rng: np.random.Generator, lateral: float, distance: float, oncoming: bool
) -> Vehicle:
    """A car, or with probability 0.2 a van or lorry."""
    large = rng.random() < 0.2
    size = (
        (rng.uniform(2, 2.4), rng.uniform(2.2, 3.4), rng.uniform(5, 10))
        if large
        else (rng.uniform(1.65, 1.9), rng.uniform(1.4, 1.75), rng.uniform(3.8, 4.8))
    )
    grey = rng.uniform(20, 230)
    colour = rng.uniform(20, 200, 3) if rng.random() < 0.3 else grey + rng.normal(0, 8, 3)
    return Vehicle(lateral, distance, *size, tuple(np.clip(colour, 0, 255)), oncoming)


class Painter:
    """Draw solid objects into an image, in place.

    Args:
        image (np.ndarray): (height, width, 3) uint8.
        view (RoadView): The camera.
    """

    def __init__(self, image: np.ndarray, view: RoadView) -> None:
        self.image = image
        self.view = view

    def _fill(self, points: np.ndarray, colour: np.ndarray) -> None:
        """Fill a polygon of (N, 2) pixels."""
        corners = np.round(np.clip(points, -2e4, 2e4) * 2**_SHIFT).astype(np.int32)
        shade = tuple(float(value) for value in np.clip(colour, 0, 255))
        cv2.fillPoly(self.image, [corners], shade, cv2.LINE_AA, _SHIFT)

    def draw_vehicle(self, vehicle: Vehicle) -> list[np.ndarray]:
        """Draw a vehicle.

        Returns:
            list[np.ndarray]: (2,) pixels each, its lamps.
        """
        colour = np.array(vehicle.colour)
        self._draw_shadow(vehicle)
        self._draw_side(vehicle, 0.65 * colour)
        (left, bottom), (right, top) = self._face(vehicle, vehicle.distance)
        wide, tall = right - left, top - bottom

        def part(x0: float, y0: float, x1: float, y1: float, taper: float = 0.0) -> np.ndarray:
            """Corners of a part of the face, relative to its width and height from below."""
            shares = np.array([(x0, y0), (x1, y0), (x1 - taper, y1), (x0 + taper, y1)])
            return np.array([left, bottom]) + shares * [wide, tall]

        for x0, x1 in ((0.04, 0.2), (0.8, 0.96)):
            self._fill(part(x0, 0, x1, 0.25), np.full(3, 18))
        self._fill(part(0, 0.13, 1, 0.6), colour)
        self._fill(part(0, 0.6, 1, 1, 0.1), 0.9 * colour)
        self._fill(part(0.1, 0.6, 0.9, 0.92, 0.06), 0.2 * colour + 25)
        self._fill(part(0.36, 0.3, 0.64, 0.4), np.array([190.0, 195, 190]))
        lamp = np.array([215.0, 230, 235]) if vehicle.oncoming else np.array([35.0, 30, 190])
        lamps = []
        for x0, x1 in ((0.03, 0.2), (0.8, 0.97)):
            corners = part(x0, 0.42, x1, 0.56)
            self._fill(corners, lamp)
            lamps.append(corners.mean(axis=0))
        return lamps

    def _face(self, vehicle: Vehicle, distance: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower left and upper right corner of a cross-section, pixels."""
        sides = np.array([-0.5, 0.5]) * vehicle.width + vehicle.lateral
        distances = np.full(2, distance)
        low = self.view.project(sides, distances)
        high = self.view.project(sides, distances, vehicle.height)
        return low[0], high[1]

    def _draw_side(self, vehicle: Vehicle, colour: np.ndarray) -> None:
        """Draw the long side that faces the camera, with its windows."""
        near_corners = self._face(vehicle, vehicle.distance)
        far_corners = self._face(vehicle, vehicle.distance + vehicle.length)
        axis = self.view.width / 2
        use_right = (near_corners[0][0] + near_corners[1][0]) / 2 < axis
        near_x, far_x = (corners[int(use_right)][0] for corners in (near_corners, far_corners))
        near_low, near_high = near_corners[0][1], near_corners[1][1]
        far_low, far_high = far_corners[0][1], far_corners[1][1]

        def part(low: float, high: float, start: float = 0.0, stop: float = 1.0) -> np.ndarray:
            """Corners of a band of the side, relative to its height and length."""
            x = near_x + (far_x - near_x) * np.array([start, stop, stop, start])
            shares = np.array([low, high])
            near = near_low + (near_high - near_low) * shares
            far = far_low + (far_high - far_low) * shares
            first, last = (near + (far - near) * share for share in (start, stop))
            return np.stack([x, [first[0], last[0], last[1], first[1]]], axis=1)

        self._fill(part(0.1, 1.0), colour)
        self._fill(part(0.62, 0.93, 0.1, 0.8), 0.25 * colour + 20)
        for start in (0.12, 0.72):
            self._fill(part(0.0, 0.28, start, start + 0.16), np.full(3, 15))

    def _draw_shadow(self, vehicle: Vehicle) -> None:
        """Draw the dark strip under a vehicle."""
        ends = vehicle.distance + np.array([-0.15, -0.15, vehicle.length, vehicle.length])
        sides = vehicle.lateral + 0.54 * vehicle.width * np.array([-1, 1, 1, -1])
        self._fill(self.view.project(sides, np.maximum(ends, 1.0)), np.full(3, 22))

    def draw_wall(self, lateral: float, bottom: float, top: float, colour: np.ndarray) -> None:
        """Draw a rail, hedge or row of houses along the road.

        Args:
            lateral (float): Metres from the centre of the camera's lane.
            bottom, top (float): Metres above the road.
            colour (np.ndarray): (3,) BGR.
        """
        distances = np.geomspace(_NEAREST, _FARTHEST, 24)
        low = self.view.project(np.full(24, lateral), distances, bottom)
        high = self.view.project(np.full(24, lateral), distances, top)
        self._fill(np.concatenate([low, high[::-1]]), colour)

    def draw_posts(self, lateral: float, height: float, spacing: float, colour: float) -> None:
        """Draw posts or lamps beside the road."""
        for distance in np.arange(60, 3, -spacing):
            ends = [
                self.view.project(np.full(1, lateral), np.full(1, distance), up)[0]
                for up in (0.0, height)
            ]
            thickness = max(int(0.15 * self.view.focal / distance), 1)
            (x0, y0), (x1, y1) = np.clip(np.round(ends), -9999, 9999).astype(int)
            shade = (float(colour),) * 3
            cv2.line(self.image, (x0, y0), (x1, y1), shade, thickness, cv2.LINE_AA)
