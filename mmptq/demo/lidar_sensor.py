"""A rotating 32-beam LiDAR: rays are cast against the ground and against solids."""

from dataclasses import dataclass

import numpy as np

from mmptq.demo.lidar_catalog import BOX, CYLINDER, ELLIPSOID, MATERIAL_INDEX, MATERIALS, SHAPES
from mmptq.demo.lidar_solids import STATIC, Solids
from mmptq.demo.lidar_terrain import Terrain

BEAMS = 32
ELEVATION = np.radians(np.linspace(-30.67, 10.67, BEAMS))  # of the HDL-32E that nuScenes used
MAX_RANGE = 70.0  # metres
MIN_RANGE = 0.4  # metres
RANGE_NOISE = 0.02  # metres, standard deviation
_INTENSITY = np.array([material.intensity for material in MATERIALS.values()])
_SPREAD = np.array([material.spread for material in MATERIALS.values()])
_LOSS = np.array([material.loss for material in MATERIALS.values()])


@dataclass
class Sweep:
    """One turn of the sensor.

    Attributes:
        points (np.ndarray): (N, 5) float32: x, y, z in metres in the sensor frame (x right,
            y forward, z up), intensity 0-255, ring 0-31 from the lowest beam up.
        owner (np.ndarray): (N,) int, object that was hit, or STATIC.
        visibility (np.ndarray): (A,) float, fraction of the rays towards each object that are not
            blocked; 0 if no ray points to it.
    """

    points: np.ndarray
    owner: np.ndarray
    visibility: np.ndarray


def ray_directions(columns: int, phase: float) -> np.ndarray:
    """Return (BEAMS * columns, 3) unit vectors, beam by beam, in the sensor's axes.

    Args:
        columns (int): Azimuth steps per turn.
        phase (float): Azimuth of the first column, radians.
    """
    azimuth = phase + 2 * np.pi * np.arange(columns) / columns
    flat = np.cos(ELEVATION)[:, None]
    rays = np.stack(
        [
            flat * np.cos(azimuth),
            flat * np.sin(azimuth),
            np.broadcast_to(np.sin(ELEVATION)[:, None], (BEAMS, columns)),
        ],
        axis=-1,
    )
    return rays.reshape(-1, 3)


def scan(
    rng: np.random.Generator,
    origin: np.ndarray,
    yaw: float,
    columns: int,
    terrain: Terrain,
    solids: Solids,
    actors: int,
) -> Sweep:
    """Cast all rays of one turn.

    Args:
        rng (np.random.Generator): Source of randomness.
        origin (np.ndarray): (3,) sensor position in the street frame, metres.
        yaw (float): Direction of the sensor's x axis in the street frame, radians.
        columns (int): Azimuth steps per turn.
        terrain (Terrain): The ground.
        solids (Solids): Everything else.
        actors (int): Number of objects that own solids.

    Returns:
        Sweep: The returns in the sensor frame.
    """
    phase = rng.uniform(0, 2 * np.pi / columns)
    local = ray_directions(columns, phase)
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    rays = local @ turn
    distance = terrain.intersect(origin, rays)
    material = np.full(len(rays), MATERIAL_INDEX['asphalt'])
    material[terrain.is_pavement(origin, rays, distance)] = MATERIAL_INDEX['concrete']
    owner = np.full(len(rays), STATIC)
    tint = np.ones(len(rays))
    facing = np.maximum(-rays[:, 2], 1e-3)

    ray, solid = candidate_pairs(origin, yaw + phase, columns, solids)
    hit = intersect(rng, origin, rays, ray, solids, solid)
    np.minimum.at(distance, ray, hit)
    won = np.isfinite(hit) & (hit == distance[ray])
    first, source = ray[won], solid[won]
    material[first] = solids.material[source]
    owner[first], tint[first], facing[first] = solids.owner[source], solids.tint[source], 0.6
    visibility = _visibility(
        ray[np.isfinite(hit)], solids.owner[solid[np.isfinite(hit)]], owner, actors
    )

    points, kept = _measure(rng, local, distance, material, tint, facing)
    return Sweep(points[kept].astype(np.float32), owner[kept], visibility)


def _measure(
    rng: np.random.Generator,
    local: np.ndarray,
    distance: np.ndarray,
    material: np.ndarray,
    tint: np.ndarray,
    facing: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the measurement of each ray, (R, 5), and which rays return, (R,) bool."""
    strength = _INTENSITY[material] * tint
    kept = _returned(rng, distance, strength * facing, _LOSS[material])
    noise = np.exp(_SPREAD[material] * rng.standard_normal(len(local)))
    intensity = np.clip(np.round(strength * noise), 0, 255)
    measured = distance + RANGE_NOISE * rng.standard_normal(len(local))
    ring = np.repeat(np.arange(BEAMS), len(local) // BEAMS)
    with np.errstate(invalid='ignore'):
        points = np.column_stack([local * measured[:, None], intensity, ring])
    return points, kept


def _returned(
    rng: np.random.Generator, distance: np.ndarray, strength: np.ndarray, loss: np.ndarray
) -> np.ndarray:
    """Draw which pulses return; weak and distant ones are lost."""
    in_range = (distance > MIN_RANGE) & (distance < MAX_RANGE)
    signal = strength * (MAX_RANGE / np.where(in_range, distance, MAX_RANGE)) ** 2
    return in_range & (rng.random(len(distance)) < (1 - loss) * (1 - np.exp(-signal)))


def _visibility(
    ray: np.ndarray, hit_owner: np.ndarray, first_owner: np.ndarray, actors: int
) -> np.ndarray:
    """Return the fraction of rays through each object that hit it first, (A,)."""
    own = hit_owner != STATIC
    pairs = np.unique(np.stack([ray[own], hit_owner[own]]), axis=1)
    through = np.bincount(pairs[1], minlength=actors)
    first = np.bincount(pairs[1][first_owner[pairs[0]] == pairs[1]], minlength=actors)
    return first / np.maximum(through, 1)


def candidate_pairs(
    origin: np.ndarray, start: float, columns: int, solids: Solids
) -> tuple[np.ndarray, np.ndarray]:
    """Return (ray, solid) index pairs that may intersect, from each solid's angular extent.

    Args:
        origin (np.ndarray): (3,) sensor position, metres.
        start (float): Azimuth of column 0, radians.
        columns (int): Azimuth steps per turn.
        solids (Solids): N solids.

    Returns:
        tuple[np.ndarray, np.ndarray]: (P,) ray and (P,) solid indices.
    """
    offset = solids.centre - origin
    distance = np.hypot(offset[:, 0], offset[:, 1])
    radius = np.hypot(solids.half[:, 0], solids.half[:, 1])
    outside = distance > radius
    spread = np.where(outside, np.arcsin(np.clip(radius / np.maximum(distance, 1e-6), 0, 1)), np.pi)
    step = 2 * np.pi / columns
    azimuth = np.arctan2(offset[:, 1], offset[:, 0]) - start
    first = np.ceil((azimuth - spread) / step).astype(int)
    count = np.floor((azimuth + spread) / step).astype(int) - first + 1
    near, far = np.maximum(distance - radius, 1e-3), distance + radius
    top, bottom = offset[:, 2] + solids.half[:, 2], offset[:, 2] - solids.half[:, 2]
    highest = np.arctan2(top, np.where(top > 0, near, far))
    lowest = np.arctan2(bottom, np.where(bottom > 0, far, near))
    beam = np.searchsorted(ELEVATION, lowest)
    beams = np.searchsorted(ELEVATION, highest, side='right') - beam
    count = np.clip(count, 0, columns)
    count[near > MAX_RANGE] = 0
    pairs = count * np.maximum(beams, 0)
    solid = np.repeat(np.arange(len(pairs)), pairs)
    rank = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    column = (first[solid] + rank % count[solid]) % columns
    return (beam[solid] + rank // count[solid]) * columns + column, solid


def intersect(
    rng: np.random.Generator,
    origin: np.ndarray,
    rays: np.ndarray,
    ray: np.ndarray,
    solids: Solids,
    solid: np.ndarray,
) -> np.ndarray:
    """Return the distance of each intersection, infinity if there is none.

    In the frame where the solid is the unit shape, the ray enters at the largest and leaves at the
    smallest of its boundary distances. A porous solid reflects at a random point inside.

    Args:
        rng (np.random.Generator): Source of randomness, for porous solids.
        origin (np.ndarray): (3,) start of all rays.
        rays (np.ndarray): (R, 3) unit directions.
        ray, solid (np.ndarray): (P,) indices of the pairs.
        solids (Solids): N solids.

    Returns:
        np.ndarray: (P,) metres.
    """
    cosine, sine = np.cos(solids.yaw), np.sin(solids.yaw)
    offset = origin - solids.centre
    start = _to_unit(offset, cosine, sine, solids.half)[solid]
    direction = _to_unit(rays[ray], cosine[solid], sine[solid], solids.half[solid])
    enter, leave = np.full(len(ray), np.inf), np.full(len(ray), -np.inf)
    for index, boundaries in enumerate(_BOUNDARIES[shape] for shape in SHAPES):
        chosen = solids.shape[solid] == index
        enter[chosen], leave[chosen] = boundaries(start[chosen], direction[chosen])
    enter = np.maximum(enter, 0)
    meets = enter < leave
    density = solids.density[solid]
    porous = meets & np.isfinite(density)
    depth = rng.exponential(size=int(porous.sum())) / density[porous]
    enter[porous] += depth
    return np.where(meets & (enter < leave), enter, np.inf)


def _to_unit(
    vector: np.ndarray, cosine: np.ndarray, sine: np.ndarray, half: np.ndarray
) -> np.ndarray:
    """Rotate (P, 3) vectors by the negative yaw and divide by the half extents."""
    x = cosine * vector[:, 0] + sine * vector[:, 1]
    y = cosine * vector[:, 1] - sine * vector[:, 0]
    return np.stack([x, y, vector[:, 2]], axis=1) / half


def _slab(start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances at which rays enter and leave -1..1 on each of the given axes."""
    direction = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    one, two = (-1 - start) / direction, (1 - start) / direction
    return np.minimum(one, two).max(axis=1), np.maximum(one, two).min(axis=1)


def _ball(start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances at which rays enter and leave the unit ball of the given axes."""
    a = np.maximum((direction**2).sum(axis=1), 1e-12)
    b = (start * direction).sum(axis=1)
    c = (start**2).sum(axis=1) - 1
    root = b**2 - a * c
    half_width = np.sqrt(np.maximum(root, 0)) / a
    middle = np.where(root > 0, -b / a, np.inf)
    return middle - half_width, np.where(root > 0, middle + half_width, -np.inf)


def _upright_cylinder(start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = _ball(start[:, :2], direction[:, :2])
    caps = _slab(start[:, 2:], direction[:, 2:])
    return np.maximum(side[0], caps[0]), np.minimum(side[1], caps[1])


_BOUNDARIES = {BOX: _slab, CYLINDER: _upright_cylinder, ELLIPSOID: _ball}
