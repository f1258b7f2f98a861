"""Rays of a camera against boxes, cylinders and ellipsoids, each in its window of the image."""

from dataclasses import dataclass

import numpy as np

from mmptq.demo.lidar_catalog import BOX, CYLINDER, SHAPES
from mmptq.demo.lidar_solids import Solids

NEAREST = 0.2  # metres; nothing closer to the camera is drawn
_FARTHEST = 90.0  # metres
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


@dataclass
class Viewpoint:
    """Where a camera is in the street frame.

    Attributes:
        origin (np.ndarray): (3,) metres.
        rotation (np.ndarray): (3, 3) from the camera (x right, y down, z ahead) to the street.
        columns, rows (np.ndarray): (w,) and (h,) x and y of the pixels' rays of depth 1.
        focal (float): Pixels.
    """

    origin: np.ndarray
    rotation: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    focal: float

    @classmethod
    def of(cls, pose: np.ndarray, intrinsic: np.ndarray, width: int, height: int) -> 'Viewpoint':
        """Return the view of a camera with a (4, 4) pose and a (3, 3) matrix."""
        columns = (np.arange(width) + 0.5 - intrinsic[0, 2]) / intrinsic[0, 0]
        rows = (np.arange(height) + 0.5 - intrinsic[1, 2]) / intrinsic[1, 1]
        return cls(pose[:3, 3], pose[:3, :3], columns, rows, float(intrinsic[0, 0]))

    def rays(self) -> np.ndarray:
        """Return (h, w, 3) directions in the street frame, of depth 1."""
        flat = self.columns[:, None] * self.rotation[:, 0]
        steep = self.rows[:, None] * self.rotation[:, 1] + self.rotation[:, 2]
        return flat[None] + steep[:, None]


@dataclass
class Hit:
    """The P pixels of one solid in the image.

    Attributes:
        window (tuple[slice, slice]): Rows and columns.
        seen (np.ndarray): (h, w) bool, the P pixels in the window.
        depth (np.ndarray): (P,) float32 metres.
        thickness (np.ndarray): (P,) float32 metres of depth inside.
        light (np.ndarray): (P,) float32 cosine between the surface and the sun, at least 0.
        place (np.ndarray): (3, P) float32 in the unit shape.
        face (np.ndarray | None): (P,) axis of the box's face.
    """

    window: tuple[slice, slice]
    seen: np.ndarray
    depth: np.ndarray
    thickness: np.ndarray
    light: np.ndarray
    place: np.ndarray
    face: np.ndarray | None


class SolidCaster:
    """Intersect the solids of one moment with the rays of one camera.

    Args:
        view (Viewpoint): The camera.
        solids (Solids): N solids.
        sun (np.ndarray): (3,) unit vector towards the light.
    """

    def __init__(self, view: Viewpoint, solids: Solids, sun: np.ndarray) -> None:
        self.view = view
        self.shape = solids.shape
        cosine, sine = np.cos(solids.yaw), np.sin(solids.yaw)
        zero, one = np.zeros_like(cosine), np.ones_like(cosine)
        turn = np.array([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])
        turn = turn.transpose(2, 0, 1)  # from the solid to the street
        inverse = turn.transpose(0, 2, 1)
        self.half = solids.half.astype(np.float32)
        to_unit = inverse / solids.half[:, :, None]
        self.start = np.einsum('nij,nj->ni', to_unit, view.origin - solids.centre)
        self.matrix = to_unit @ view.rotation
        self.sun = (inverse @ sun).astype(np.float32)
        corners = (_CORNERS * solids.half[:, None]) @ inverse + (solids.centre - view.origin)[
            :, None
        ]
        self.corners = corners @ view.rotation

    def order(self) -> np.ndarray:
        """Return the indices of the solids in front of the camera, the nearest first."""
        depth = self.corners[..., 2]
        near = depth.min(axis=1)
        seen = np.flatnonzero((depth.max(axis=1) > NEAREST) & (near < _FARTHEST))
        return seen[np.argsort(near[seen], kind='stable')]

    def window(self, index: int) -> tuple[slice, slice] | None:
        """Return the rows and columns that a solid can cover, None if it is outside the image."""
        corners, view = self.corners[index], self.view
        height, width = len(view.rows), len(view.columns)
        if corners[:, 2].min() <= NEAREST:
            return slice(0, height), slice(0, width)
        places = corners[:, :2] / corners[:, 2:]
        low = np.searchsorted(view.columns, places[:, 0].min())
        high = np.searchsorted(view.columns, places[:, 0].max())
        top = np.searchsorted(view.rows, places[:, 1].min())
        bottom = np.searchsorted(view.rows, places[:, 1].max())
        if low >= high or top >= bottom:
            return None
        return slice(top, bottom), slice(low, high)

    def cast(self, index: int, window: tuple[slice, slice], depth: np.ndarray) -> Hit | None:
        """Return where the rays of a window hit a solid before a depth (h, w), None if nowhere."""
        view, matrix = self.view, self.matrix[index]
        across = (matrix[:, :1] * view.columns[window[1]]).astype(np.float32)
        down = matrix[:, 1:2] * view.rows[window[0]] + matrix[:, 2:]
        direction = across[:, None, :] + down.astype(np.float32)[:, :, None]
        start = self.start[index].astype(np.float32)[:, None, None]
        shape = SHAPES[self.shape[index]]
        if shape == BOX:
            enter, leave = _slab(start, direction)
        elif shape == CYLINDER:
            side, caps = _ball(start[:2], direction[:2]), _slab(start[2:], direction[2:])
            enter, leave = np.maximum(side[0], caps[0]), np.minimum(side[1], caps[1])
        else:
            enter, leave = _ball(start, direction)
        seen = (enter < np.minimum(leave, depth)) & (enter > NEAREST)
        if not seen.any():
            return None
        reached = enter[seen]
        place = self.start[index].astype(np.float32)[:, None] + reached * direction[:, seen]
        face = np.abs(place).argmax(axis=0) if shape == BOX else None
        light = self._light(index, shape, place, face)
        return Hit(window, seen, reached, leave[seen] - reached, light, place, face)

    def _light(
        self, index: int, shape: str, place: np.ndarray, face: np.ndarray | None
    ) -> np.ndarray:
        """(P,) cosine between the normal of the surface and the sun, at least 0."""
        sun = self.sun[index]
        if face is not None:
            return np.maximum(np.sign(self.start[index]).astype(np.float32) * sun, 0)[face]
        normal = place / self.half[index][:, None]
        if shape == CYLINDER:
            normal[2] = 0
        length = np.sqrt((normal**2).sum(axis=0)) + np.float32(1e-6)
        light = sun @ normal / length
        if shape == CYLINDER:
            top = np.sign(self.start[index][2]) * sun[2]
            light = np.where(np.abs(place[2]) > 0.999, np.float32(top), light)
        return np.maximum(light, 0)


def _slab(start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depths at which rays enter and leave -1..1 on all axes."""
    inverse = 1 / np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)
    middle, reach = -start * inverse, np.abs(inverse)
    near, far = middle - reach, middle + reach
    enter, leave = near[0], far[0]
    for axis in range(1, len(near)):
        enter, leave = np.maximum(enter, near[axis]), np.minimum(leave, far[axis])
    return enter, leave


def _ball(start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depths at which rays enter and leave the unit ball of the given axes."""
    a = np.maximum((direction**2).sum(axis=0), np.float32(1e-9))
    b = (start * direction).sum(axis=0)
    root = b**2 - a * ((start**2).sum() - 1)
    half = np.sqrt(np.maximum(root, 0)) / a
    middle = -b / a
    return np.where(root > 0, middle - half, np.inf), np.where(root > 0, middle + half, -np.inf)
