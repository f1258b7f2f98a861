"""Colours of the materials of a street scene, the same from frame to frame."""

import numpy as np

from mmptq.demo.lidar_catalog import MATERIAL_INDEX, MATERIALS
from mmptq.demo.lidar_solids import STATIC, Actor, Solids
from mmptq.demo.road_ground import VERGES

# BGR 0-255. Paint and cloth have a colour of their own for each object.
_MATERIAL_COLOURS = {
    'asphalt': (85, 85, 85),
    'concrete': (160, 165, 170),
    'foliage': (45, 95, 60),
    'paint': (150, 150, 150),
    'dark_paint': (50, 50, 50),
    'glass': (95, 80, 65),
    'cloth': (90, 90, 90),
    'metal': (165, 165, 160),
    'reflector': (215, 220, 225),
    'rubber': (38, 36, 35),
}
_OWN = tuple(MATERIAL_INDEX[name] for name in ('paint', 'dark_paint', 'cloth'))
# What is painted alike everywhere: (label, material) -> colour.
_USUAL = {
    ('construction_vehicle', 'paint'): (25, 165, 225),
    ('construction_vehicle', 'metal'): (40, 140, 190),
    ('traffic_cone', 'paint'): (25, 85, 235),
    ('traffic_cone', 'reflector'): (235, 235, 235),
    ('pedestrian', 'reflector'): (40, 225, 215),
    ('barrier', 'metal'): (45, 75, 200),
    ('trailer', 'metal'): (205, 205, 200),
    ('truck', 'metal'): (215, 205, 190),
}
_BODY = (
    (205, 205, 205),
    (120, 118, 115),
    (40, 40, 170),
    (140, 70, 35),
    (60, 55, 50),
    (70, 110, 60),
)


class Palette:
    """Draw the colours of one scene.

    Args:
        rng (np.random.Generator): Source of randomness.
        static (Solids): S solids that belong to no object.
        actors (list[Actor]): A objects.

    Attributes:
        sun (np.ndarray): (3,) unit vector towards the light, street frame.
        asphalt, verge, sky, haze (np.ndarray): (3,) BGR 0-255.
    """

    def __init__(self, rng: np.random.Generator, static: Solids, actors: list[Actor]) -> None:
        azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
        flat = np.cos(height)
        self.sun = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(height)])
        self.asphalt = rng.uniform(70, 115) + rng.normal(0, 3, 3)
        self.verge = np.array(VERGES[rng.integers(len(VERGES))]) * rng.uniform(0.85, 1.15)
        bright = rng.uniform(175, 225)
        self.sky = np.array([bright + 25, bright, bright - 25])
        self.haze = np.full(3, rng.uniform(200, 230))
        self._materials = np.array([_MATERIAL_COLOURS[name] for name in MATERIALS], np.float32)
        shades = rng.uniform(0.6, 1.25, (len(static.material), 1))
        tones = rng.normal(0, 9, (len(static.material), 3))
        self._static = self._materials[static.material] * shades + tones
        self._actors = [self._of_actor(rng, actor) for actor in actors]

    def _of_actor(self, rng: np.random.Generator, actor: Actor) -> np.ndarray:
        """(materials, 3) colours of one object."""
        table = self._materials * rng.uniform(0.85, 1.1)
        body = np.array(_BODY[rng.integers(len(_BODY))]) * rng.uniform(0.8, 1.15)
        table[list(_OWN)] = np.clip(body + rng.normal(0, 14, 3), 15, 240)
        table[MATERIAL_INDEX['dark_paint']] *= 0.6
        for (label, material), colour in _USUAL.items():
            if actor.kind.label == label:
                table[MATERIAL_INDEX[material]] = np.array(colour) * rng.uniform(0.9, 1.05)
        return table

    def colours(self, solids: Solids) -> np.ndarray:
        """Return (N, 3) float32 of the static solids followed by those of the objects."""
        own = solids.owner != STATIC
        colours = np.empty((len(own), 3), np.float32)
        colours[~own] = self._static
        if own.any():
            colours[own] = np.array(self._actors)[solids.owner[own], solids.material[own]]
        return np.clip(colours, 5, 250)
