"""Lay out one street: lanes, parking, pavements, work zones, yards, buildings and plants."""

import numpy as np

from mmptq.demo.lidar_clutter import Clutter, Occupancy
from mmptq.demo.lidar_solids import Actor, make_actor
from mmptq.demo.lidar_terrain import Terrain

LANE = 3.5  # metres
PARKING = 2.5  # metres
SIGHT = 72.0  # metres of street before the start and after the end of the drive


class Street:
    """Fill a straight street with traffic, parking, pavements and buildings.

    Args:
        rng (np.random.Generator): Source of randomness.
        duration (float): Seconds during which moving objects must not collide.
    """

    def __init__(self, rng: np.random.Generator, duration: float) -> None:
        self.rng = rng
        self.duration = duration
        self.actors: list[Actor] = []
        self.occupancy = Occupancy()
        self.lanes = int(rng.integers(1, 3))
        self.half_width = self.lanes * LANE + PARKING
        self.terrain = Terrain.random(rng, self.half_width)
        self.clutter = Clutter(rng, self.terrain, self.occupancy)
        self.pavement = rng.uniform(4, 7)
        self.ego_speed = float(rng.choice([0.0, rng.uniform(3, 13)], p=[0.15, 0.85]))
        ego_lane = int(rng.integers(self.lanes))
        self.ego_y = -(ego_lane + 0.5) * LANE
        self.start, self.stop = -SIGHT, SIGHT + self.ego_speed * duration
        self.crossing = rng.uniform(self.start, self.stop) if rng.random() < 0.7 else None

    def build(self) -> None:
        """Place everything; objects placed first have priority."""
        travelled = self.ego_speed * self.duration
        self.occupancy.take((-7, travelled + 9), (self.ego_y - 1.5, self.ego_y + 1.5))
        if self.crossing is not None:
            self._add_crossing(self.crossing)
        for side in (-1, 1):
            self._add_work_zone(side)
            self._add_yard(side)
            self._add_traffic(side)
            self._add_parked(side)
            self._add_cyclists(side)
            self._add_walkers(side)
            self._add_furniture(side)
            self._add_frontage(side)

    def _uniform_x(self) -> float:
        return float(self.rng.uniform(self.start, self.stop))

    def place(
        self, kind: str, x: float, y: float, yaw: float, speed: float = 0.0, gap: float = 0.4
    ) -> bool:
        """Add an object unless its path over the whole duration is occupied.

        Args:
            kind (str): Key of KINDS.
            x, y (float): Centre, metres.
            yaw (float): Heading, radians.
            speed (float): Metres per second.
            gap (float): Metres kept free around it.
        """
        actor = make_actor(self.rng, kind, x, y, yaw, speed)
        length, width = actor.size[:2]
        reach_x = (abs(np.cos(yaw)) * length + abs(np.sin(yaw)) * width) / 2 + gap
        reach_y = (abs(np.sin(yaw)) * length + abs(np.cos(yaw)) * width) / 2 + gap
        end = actor.position(self.duration)
        free = self.occupancy.take(
            (min(x, end[0]) - reach_x, max(x, end[0]) + reach_x),
            (min(y, end[1]) - reach_y, max(y, end[1]) + reach_y),
        )
        if free:
            self.actors.append(actor)
        return free

    def _add_crossing(self, x: float) -> None:
        """A side street: vehicles wait at its mouths, people walk over the road."""
        rng = self.rng
        for side in (-1, 1):
            y = side * (self.half_width + 4)
            for _ in range(rng.integers(0, 4)):
                kind = rng.choice(
                    ['car', 'truck', 'bus', 'ridden_motorcycle'], p=[0.6, 0.15, 0.1, 0.15]
                )
                y += side * rng.uniform(3, 5)
                self.place(kind, x + side * 1.8, y, -side * np.pi / 2, gap=0.3)
                y += side * 6
            for lane in (-1, 1):
                self.occupancy.take(
                    (x + lane * 1.8 - 1.7, x + lane * 1.8 + 1.7),
                    tuple(sorted((side * self.half_width, side * 60.0))),
                )
        for _ in range(rng.integers(0, 6)):
            side = rng.choice([-1, 1])
            self.place(
                'pedestrian',
                x + rng.uniform(5, 8),
                rng.uniform(-1, 1) * self.half_width,
                side * np.pi / 2,
                rng.uniform(0.8, 1.6),
            )

    def _add_work_zone(self, side: int) -> None:
        """Barriers and cones around machines and workers, in the outer lane or on the pavement."""
        rng = self.rng
        if rng.random() > 0.75:
            return
        travelled = self.ego_speed * self.duration
        length = rng.uniform(15, 32)
        first = rng.uniform(-32 - length / 2, 32 + travelled - length / 2)
        edge = side * (self.half_width - (PARKING if rng.random() < 0.7 else 0) - 0.3)
        rows = np.arange(first, first + length, rng.uniform(2.65, 3.1))
        fence = 'barrier' if rng.random() < 0.75 else 'traffic_cone'
        for x in rows:
            self.place(fence, x, edge + 0.1 * rng.standard_normal(), np.pi / 2, gap=0.02)
        for end in (first - 2.5, first + length + 1.5):
            for step in range(rng.integers(1, 4)):
                self.place('traffic_cone', end, edge + side * (1.2 * step + 0.6), 0.0, gap=0.1)
        for _ in range(rng.integers(1, 4)):
            self.place(
                'construction_vehicle',
                first + rng.uniform(5, length - 4),
                edge + side * rng.uniform(3, 5),
                rng.uniform(-np.pi, np.pi),
            )
        for _ in range(rng.integers(1, 5)):
            kind = rng.choice(['worker', 'traffic_cone', 'worker', 'bin'])
            self.place(
                kind,
                first + rng.uniform(1, length),
                edge + side * rng.uniform(1, 6),
                rng.uniform(-np.pi, np.pi),
                gap=0.2,
            )

    def _add_yard(self, side: int) -> None:
        """A paved yard beside the street with vehicles in rows, trailers and machines."""
        rng = self.rng
        if rng.random() > 0.8:
            return
        first = rng.uniform(-45, 20 + self.ego_speed * self.duration)
        low = self.half_width + self.pavement + 2
        angle = rng.choice([np.pi / 2, np.pi / 3, 0.0]) + rng.choice([0, np.pi])
        kinds = ['car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'motorcycle']
        weights = [[0.7, 0.1, 0.05, 0.0, 0.05, 0.1], [0.1, 0.2, 0.4, 0.15, 0.15, 0.0]]
        weight = weights[int(rng.random() < 0.55)]
        for row in range(2):
            x = first
            while x < first + 28:
                kind = str(rng.choice(kinds, p=weight))
                x += rng.uniform(3.2, 4.2) if angle % np.pi else rng.uniform(5, 13)
                wanted = side * (low + 6 + row * 15 + rng.uniform(-0.5, 0.5))
                self.place(kind, x, wanted, angle + 0.05 * rng.standard_normal(), gap=0.25)
        rows = tuple(sorted((side * low, side * (low + 30))))
        self.occupancy.take((first, first + 30), rows)

    def _add_traffic(self, side: int) -> None:
        """Vehicles in the lanes of one direction; those in a lane share its speed."""
        rng = self.rng
        kinds = ['car', 'truck', 'bus', 'ridden_motorcycle', 'trailer', 'construction_vehicle']
        for lane in range(self.lanes):
            y = side * (lane + 0.5) * LANE
            speed = 0.0 if rng.random() < 0.25 else rng.uniform(3, 14)
            for _ in range(rng.poisson(6)):
                kind = str(rng.choice(kinds, p=[0.40, 0.18, 0.17, 0.09, 0.09, 0.07]))
                x = self._uniform_x() - (self.ego_speed * self.duration if side > 0 else 0) * 0.5
                yaw = (0.0 if side < 0 else np.pi) + 0.03 * rng.standard_normal()
                pace = self.ego_speed if abs(y - self.ego_y) < 1 else speed
                self.place(kind, x, y + 0.2 * rng.standard_normal(), yaw, pace, gap=1.0)

    def _add_parked(self, side: int) -> None:
        rng = self.rng
        y = side * (self.half_width - PARKING / 2 - 0.1)
        for _ in range(rng.poisson(9)):
            kinds, weights = (
                ['car', 'truck', 'motorcycle', 'trailer', 'bus'],
                [0.6, 0.14, 0.1, 0.08, 0.08],
            )
            kind = str(rng.choice(kinds, p=weights))
            yaw = (0.0 if side < 0 else np.pi) + 0.04 * rng.standard_normal()
            self.place(kind, self._uniform_x(), y + 0.1 * rng.standard_normal(), yaw)

    def _add_cyclists(self, side: int) -> None:
        rng = self.rng
        for _ in range(rng.poisson(1.5)):
            kind = str(rng.choice(['ridden_bicycle', 'ridden_motorcycle'], p=[0.75, 0.25]))
            y = side * (self.lanes * LANE + rng.uniform(-0.7, 0.3))
            self.place(
                kind, self._uniform_x(), y, 0.0 if side < 0 else np.pi, rng.uniform(2, 6), 0.2
            )
        for _ in range(rng.poisson(3)):
            kind = str(rng.choice(['bicycle', 'motorcycle'], p=[0.65, 0.35]))
            y = side * (self.half_width + rng.uniform(0.6, self.pavement - 0.5))
            self.place(kind, self._uniform_x(), y, rng.uniform(-np.pi, np.pi), gap=0.15)

    def _add_walkers(self, side: int) -> None:
        rng = self.rng
        for _ in range(rng.poisson(5)):
            x, y = self._uniform_x(), side * (self.half_width + rng.uniform(0.5, self.pavement))
            yaw = rng.choice([0, np.pi]) + 0.1 * rng.standard_normal()
            speed = 0.0 if rng.random() < 0.3 else rng.uniform(0.6, 1.8)
            for member in range(rng.integers(1, 4)):
                self.place('pedestrian', x + 0.2 * member, y + 0.9 * member, yaw, speed, gap=0.05)

    def _add_furniture(self, side: int) -> None:
        """Unlabelled objects of the size of people, cones and barriers."""
        rng = self.rng
        kerb = self.half_width + 0.7
        for _ in range(rng.poisson(7)):
            self.clutter.add_post(self._uniform_x(), side * (kerb + rng.uniform(0, 0.6)))
        for _ in range(rng.poisson(5)):
            self.clutter.add_tree(self._uniform_x(), side * (kerb + rng.uniform(0, self.pavement)))
        for _ in range(rng.poisson(4)):
            self.clutter.add_bush(
                self._uniform_x(), side * (kerb + rng.uniform(0, self.pavement + 4))
            )
        for _ in range(rng.poisson(2)):
            y = side * (kerb + rng.uniform(0, self.pavement))
            self.place('bin', self._uniform_x(), y, 0.0, gap=0.1)
        for _ in range(rng.poisson(2)):
            x, y = self._uniform_x(), side * (kerb + rng.uniform(0.5, self.pavement))
            size = rng.uniform([0.4, 0.4, 0.8], [1.2, 3.0, 2.2])
            self.clutter.add_block(x, y, size, rng.choice(['concrete', 'metal', 'glass']))

    def _add_frontage(self, side: int) -> None:
        """Houses, walls and hedges behind the pavement, in free places."""
        rng = self.rng
        x = self.start - 10
        while x < self.stop + 10:
            width, depth = rng.uniform(7, 24), rng.uniform(8, 18)
            height = rng.choice([rng.uniform(3, 8), rng.uniform(8, 25)])
            setback = self.half_width + self.pavement + rng.uniform(0.3, 5)
            kind = rng.choice(['house', 'wall', 'open'], p=[0.6, 0.15, 0.25])
            if kind == 'wall':
                depth, height = 0.4, rng.uniform(1.2, 2.5)
            if kind != 'open':
                size = np.array([width - rng.uniform(0, 3), depth, height])
                y = side * (setback + depth / 2)
                self.clutter.add_block(
                    x + width / 2, y, size, rng.choice(['concrete', 'concrete', 'glass'])
                )
            else:
                for _ in range(rng.integers(1, 5)):
                    self.clutter.add_tree(
                        x + rng.uniform(0, width), side * (setback + rng.uniform(0, 15))
                    )
            x += width
