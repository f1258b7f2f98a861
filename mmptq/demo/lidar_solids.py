"""Solids that a laser can hit, as arrays, and moving objects built from them."""

from dataclasses import dataclass, fields

import numpy as np

from mmptq.demo.lidar_catalog import FORMS, KINDS, MATERIAL_INDEX, SHAPES, Kind

STATIC = -1  # owner of a solid that belongs to no object
BOX_MARGIN = 0.03  # metres between an object's surface and its labelled box


@dataclass
class Solids:
    """N solids; each is a unit shape, scaled, rotated about the vertical axis and shifted.

    Attributes:
        shape (np.ndarray): (N,) int, index into SHAPES.
        centre (np.ndarray): (N, 3) float, metres.
        half (np.ndarray): (N, 3) float, half extents, metres.
        yaw (np.ndarray): (N,) float, radians.
        material (np.ndarray): (N,) int, index into MATERIALS.
        density (np.ndarray): (N,) float, hits per metre inside; infinity is a closed surface.
        tint (np.ndarray): (N,) float, factor on the material's intensity.
        owner (np.ndarray): (N,) int, index of the object, or STATIC.
    """

    shape: np.ndarray
    centre: np.ndarray
    half: np.ndarray
    yaw: np.ndarray
    material: np.ndarray
    density: np.ndarray
    tint: np.ndarray
    owner: np.ndarray

    @classmethod
    def concatenate(cls, groups: list['Solids']) -> 'Solids':
        """Return all solids of the groups, in order."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(group, name) for group in groups]) for name in names))


class SolidList:
    """Collect solids one by one."""

    def __init__(self) -> None:
        self._rows: list[tuple] = []

    def add(
        self,
        shape: str,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        material: str,
        yaw: float = 0.0,
        density: float = np.inf,
        tint: float = 1.0,
        owner: int = STATIC,
    ) -> None:
        """Add one solid; ``centre`` and full ``size`` in metres, ``yaw`` in radians."""
        half = tuple(value / 2 for value in size)
        self._rows.append(
            (SHAPES.index(shape), centre, half, yaw, MATERIAL_INDEX[material], density, tint, owner)
        )

    def to_solids(self) -> Solids:
        """Return the collected solids as arrays."""
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * 8
        shape, centre, half, yaw, material, density, tint, owner = columns
        return Solids(
            np.array(shape, int),
            np.array(centre, float).reshape(-1, 3),
            np.array(half, float).reshape(-1, 3),
            np.array(yaw, float),
            np.array(material, int),
            np.array(density, float),
            np.array(tint, float),
            np.array(owner, int),
        )


@dataclass
class Actor:
    """A labelled object that is static or moves straight ahead.

    Attributes:
        kind (Kind): Category, usual size, forms.
        form (str): Key of FORMS.
        size (tuple[float, float, float]): Length, width, height, metres.
        x, y (float): Centre at time 0, street frame, metres.
        yaw (float): Heading, radians.
        speed (float): Metres per second along the heading.
        attribute (str): nuScenes attribute, or ''.
        tint (float): Factor on the intensity of its materials.
    """

    kind: Kind
    form: str
    size: tuple[float, float, float]
    x: float
    y: float
    yaw: float
    speed: float
    attribute: str
    tint: float

    def position(self, time: float) -> tuple[float, float]:
        """Return the centre (x, y) in metres at a time in seconds."""
        travelled = self.speed * time
        return self.x + travelled * np.cos(self.yaw), self.y + travelled * np.sin(self.yaw)


def make_actor(
    rng: np.random.Generator, kind: str, x: float, y: float, yaw: float, speed: float
) -> Actor:
    """Return an object of a kind with random size and form.

    Args:
        rng (np.random.Generator): Source of randomness.
        kind (str): Key of KINDS.
        x, y (float): Centre, metres.
        yaw (float): Heading, radians.
        speed (float): Metres per second.
    """
    chosen = KINDS[kind]
    common = 1 + chosen.spread * rng.standard_normal()
    single = 1 + 0.4 * chosen.spread * rng.standard_normal(3)
    size = tuple(
        float(np.clip(common * s, 0.7, 1.35) * m) for s, m in zip(single, chosen.size, strict=True)
    )
    form = str(rng.choice(chosen.forms))
    tint = float(np.exp(0.4 * rng.standard_normal()))
    return Actor(chosen, form, size, x, y, yaw, speed, _attribute(kind, speed, rng), tint)


def _attribute(kind: str, speed: float, rng: np.random.Generator) -> str:
    label = KINDS[kind].label
    if label in ('traffic_cone', 'barrier', None):
        return ''
    if label == 'pedestrian':
        return 'pedestrian.moving' if speed else 'pedestrian.standing'
    if label in ('bicycle', 'motorcycle'):
        return 'cycle.with_rider' if kind.startswith('ridden') else 'cycle.without_rider'
    if speed:
        return 'vehicle.moving'
    return 'vehicle.stopped' if label == 'bus' or rng.random() < 0.1 else 'vehicle.parked'


def actor_solids(actors: list[Actor], time: float, heights: np.ndarray) -> Solids:
    """Return the solids of all objects at a time.

    Args:
        actors (list[Actor]): The objects; their index becomes the owner of the solids.
        time (float): Seconds.
        heights (np.ndarray): (A,) ground height under each object, metres.
    """
    solids = SolidList()
    for index, actor in enumerate(actors):
        position = actor.position(time)
        cosine, sine = np.cos(actor.yaw), np.sin(actor.yaw)
        length, width, height = (value - 2 * BOX_MARGIN for value in actor.size)
        for part in FORMS[actor.form]:
            middle = [(low + high) / 2 for low, high in zip(part.low, part.high, strict=True)]
            along, across = middle[0] * length, middle[1] * width
            centre = (
                position[0] + cosine * along - sine * across,
                position[1] + sine * along + cosine * across,
                heights[index] + BOX_MARGIN + middle[2] * height,
            )
            extent = [high - low for low, high in zip(part.low, part.high, strict=True)]
            size = (extent[0] * length, extent[1] * width, extent[2] * height)
            solids.add(
                part.shape, centre, size, part.material, actor.yaw, part.density, actor.tint, index
            )
    return solids.to_solids()
