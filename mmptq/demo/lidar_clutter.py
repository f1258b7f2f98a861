"""Unlabelled objects of a street (poles, trees, bushes, houses), and its free space."""

import numpy as np

from mmptq.demo.lidar_catalog import BOX, CYLINDER, ELLIPSOID
from mmptq.demo.lidar_solids import SolidList
from mmptq.demo.lidar_terrain import Terrain


class Occupancy:
    """Axis-aligned rectangles that are occupied."""

    def __init__(self) -> None:
        self._taken: list[tuple[float, float, float, float]] = []

    def take(self, x: tuple[float, float], y: tuple[float, float]) -> bool:
        """Occupy a rectangle if it is free; return whether it was free."""
        for left, right, low, high in self._taken:
            if x[0] < right and left < x[1] and y[0] < high and low < y[1]:
                return False
        self._taken.append((*x, *y))
        return True


class Clutter:
    """Add unlabelled objects at free points of the street (metres).

    Args:
        rng (np.random.Generator): Source of randomness.
        terrain (Terrain): The ground they stand on.
        occupancy (Occupancy): Occupied rectangles.
    """

    def __init__(self, rng: np.random.Generator, terrain: Terrain, occupancy: Occupancy) -> None:
        self.rng = rng
        self.terrain = terrain
        self.occupancy = occupancy
        self.solids = SolidList()

    def _ground(self, x: float, y: float) -> float:
        return float(self.terrain.height(x, y))

    def add_post(self, x: float, y: float) -> None:
        """Add a thin pole, some of them with a sign."""
        if not self.occupancy.take((x - 0.3, x + 0.3), (y - 0.3, y + 0.3)):
            return
        rng, ground = self.rng, self._ground(x, y)
        width, height = rng.uniform(0.08, 0.35), rng.uniform(0.9, 8)
        self.solids.add(CYLINDER, (x, y, ground + height / 2), (width, width, height), 'metal')
        if rng.random() < 0.4 and height > 2:
            self.solids.add(BOX, (x, y, ground + height - 0.5), (0.05, 0.8, 0.7), 'reflector')

    def add_tree(self, x: float, y: float) -> None:
        """Add a trunk with a porous crown."""
        if not self.occupancy.take((x - 0.4, x + 0.4), (y - 0.4, y + 0.4)):
            return
        rng, ground = self.rng, self._ground(x, y)
        width, stem, crown = rng.uniform(0.2, 0.6), rng.uniform(1.8, 4), rng.uniform(2, 6)
        self.solids.add(CYLINDER, (x, y, ground + stem / 2), (width, width, stem), 'foliage')
        size = (crown, crown, crown * rng.uniform(0.8, 1.5))
        density = rng.uniform(0.4, 1.5)
        centre = (x, y, ground + stem + 0.4 * size[2])
        self.solids.add(ELLIPSOID, centre, size, 'foliage', density=density)

    def add_bush(self, x: float, y: float) -> None:
        """Add a porous bush or a piece of hedge."""
        rng = self.rng
        size = rng.uniform([0.5, 0.5, 0.5], [3.0, 1.4, 2.0])
        if not self.occupancy.take((x - size[0] / 2, x + size[0] / 2), (y - 0.7, y + 0.7)):
            return
        shape = BOX if rng.random() < 0.4 else ELLIPSOID
        centre = (x, y, self._ground(x, y) + 0.45 * size[2])
        self.solids.add(shape, centre, tuple(size), 'foliage', density=rng.uniform(2, 8))

    def add_block(self, x: float, y: float, size: np.ndarray, material: str) -> None:
        """Add an upright block, ``size`` in metres: a house, a wall, a cabinet."""
        half = size / 2
        if self.occupancy.take((x - half[0], x + half[0]), (y - half[1], y + half[1])):
            self.solids.add(BOX, (x, y, self._ground(x, y) + half[2]), tuple(size), material)
