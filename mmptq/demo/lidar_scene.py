"""Random street scenes of the LiDAR demo set."""

from dataclasses import dataclass

import numpy as np

from mmptq.demo.lidar_catalog import BOX
from mmptq.demo.lidar_solids import Actor, SolidList, Solids, actor_solids
from mmptq.demo.lidar_street import Street
from mmptq.demo.lidar_terrain import Terrain

LIDAR_FORWARD = 0.94  # metres from the ego origin (rear axle) to the sensor
LIDAR_HEIGHT = 1.84  # metres above the ground
# Body and roof of the ego vehicle: centre ahead of the rear axle, length, width, top.
_EGO_BODY = ((1.35, 4.0, 1.72, 0.95), (0.9, 1.7, 1.4, 1.5))


@dataclass
class Pose:
    """Pose of the ego vehicle in the street frame, metres and radians."""

    x: float
    y: float
    z: float
    yaw: float


@dataclass
class LidarScene:
    """A street with labelled objects that the ego vehicle drives through.

    Attributes:
        terrain (Terrain): The ground.
        static (Solids): All static unlabelled solids.
        actors (list[Actor]): The labelled objects.
        ego_speed (float): Metres per second.
        ego_y (float): Lane centre, metres.
        sway (float): Amplitude of the ego vehicle's sideways drift, metres.
    """

    terrain: Terrain
    static: Solids
    actors: list[Actor]
    ego_speed: float
    ego_y: float
    sway: float

    def ego_pose(self, time: float) -> Pose:
        """Return the ego vehicle's pose at a time in seconds."""
        pace = 0.8  # radians per second of the sideways drift
        x = self.ego_speed * time
        moving = min(self.ego_speed / 3, 1)
        y = self.ego_y + moving * self.sway * np.sin(pace * time)
        slope = moving * self.sway * pace * np.cos(pace * time) / max(self.ego_speed, 1)
        return Pose(x, y, float(self.terrain.height(x, y)), float(np.arctan(slope)))

    def actor_heights(self, time: float) -> np.ndarray:
        """Return (A,) ground heights under the objects, metres."""
        places = np.array([actor.position(time) for actor in self.actors]).reshape(-1, 2)
        return self.terrain.height(places[:, 0], places[:, 1])

    def solids(self, time: float) -> Solids:
        """Return all solids at a time in seconds, without the ground."""
        moving = actor_solids(self.actors, time, self.actor_heights(time))
        return Solids.concatenate([self.static, moving, self._ego_body(time)])

    def _ego_body(self, time: float) -> Solids:
        """Roof and bonnet of the ego vehicle, which the lowest beams hit."""
        pose = self.ego_pose(time)
        body = SolidList()
        for forward, length, width, top in _EGO_BODY:
            x = pose.x + forward * np.cos(pose.yaw)
            y = pose.y + forward * np.sin(pose.yaw)
            size = (length, width, top - 0.2)
            body.add(BOX, (x, y, pose.z + 0.1 + top / 2), size, 'dark_paint', pose.yaw)
        return body.to_solids()


def make_scene(rng: np.random.Generator, duration: float) -> LidarScene:
    """Return a random scene in which nothing collides for the given time.

    Args:
        rng (np.random.Generator): Source of randomness.
        duration (float): Seconds.

    Returns:
        LidarScene: The scene; the ego vehicle starts at x = 0 and drives along x.
    """
    street = Street(rng, duration)
    street.build()
    return LidarScene(
        street.terrain,
        street.clutter.solids.to_solids(),
        street.actors,
        street.ego_speed,
        street.ego_y,
        float(rng.uniform(0, 0.25)),
    )
