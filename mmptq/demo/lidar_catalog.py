"""Materials, solids and the ten nuScenes detection classes of the LiDAR scenes."""

from dataclasses import dataclass

import numpy as np

BOX, CYLINDER, ELLIPSOID = 'box', 'cylinder', 'ellipsoid'
SHAPES = (BOX, CYLINDER, ELLIPSOID)


@dataclass(frozen=True)
class Material:
    """How a surface reflects a laser pulse.

    Attributes:
        intensity (float): Median returned intensity at 10 m and perpendicular incidence, 0-255.
        spread (float): Standard deviation of the intensity's logarithm.
        loss (float): Fraction of pulses that do not return, 0-1.
    """

    intensity: float
    spread: float
    loss: float


# The order defines the index in arrays.
MATERIALS = {
    'asphalt': Material(9, 0.5, 0.03),
    'concrete': Material(24, 0.5, 0.02),
    'foliage': Material(16, 0.8, 0.10),
    'paint': Material(30, 0.7, 0.05),
    'dark_paint': Material(6, 0.7, 0.25),
    'glass': Material(5, 0.9, 0.60),
    'cloth': Material(15, 0.7, 0.04),
    'metal': Material(40, 0.8, 0.08),
    'reflector': Material(210, 0.25, 0.0),
    'rubber': Material(4, 0.5, 0.15),
}
MATERIAL_INDEX = {name: index for index, name in enumerate(MATERIALS)}


@dataclass(frozen=True)
class Part:
    """One solid of an object, in units of the object's box.

    Attributes:
        shape (str): One of SHAPES; a box, an upright elliptic cylinder or an ellipsoid.
        low, high (tuple[float, float, float]): Opposite corners of the solid's own box;
            x (length) and y (width) in -0.5..0.5, z (height) in 0..1.
        material (str): Key of MATERIALS.
        density (float): Hits per metre travelled inside; infinity is a closed surface.
    """

    shape: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    material: str
    density: float = np.inf


def _wheels(rear: float, front: float, height: float) -> list[Part]:
    return [
        Part(BOX, (x - 0.07, -0.5, 0.0), (x + 0.07, 0.5, height), 'rubber') for x in (rear, front)
    ]


_RIDER = [
    Part(CYLINDER, (-0.14, -0.35, 0.35), (0.14, 0.35, 0.6), 'cloth'),
    Part(ELLIPSOID, (-0.17, -0.5, 0.5), (0.17, 0.5, 0.87), 'cloth'),
    Part(ELLIPSOID, (-0.08, -0.2, 0.86), (0.08, 0.2, 1.0), 'cloth'),
]

# Object form -> its solids. Every class has at least one form.
FORMS: dict[str, list[Part]] = {
    'sedan': [
        Part(BOX, (-0.5, -0.5, 0.2), (0.5, 0.5, 0.58), 'paint'),
        Part(BOX, (-0.36, -0.43, 0.58), (0.2, 0.43, 0.95), 'glass'),
        Part(BOX, (-0.3, -0.42, 0.95), (0.12, 0.42, 1.0), 'paint'),
        Part(BOX, (-0.5, -0.12, 0.35), (0.5, 0.12, 0.43), 'reflector'),
        *_wheels(-0.32, 0.32, 0.38),
    ],
    'hatchback': [
        Part(BOX, (-0.5, -0.5, 0.18), (0.5, 0.5, 0.6), 'dark_paint'),
        Part(BOX, (-0.49, -0.44, 0.6), (0.2, 0.44, 0.94), 'glass'),
        Part(BOX, (-0.48, -0.43, 0.94), (0.1, 0.43, 1.0), 'dark_paint'),
        Part(BOX, (-0.5, -0.12, 0.35), (0.5, 0.12, 0.43), 'reflector'),
        *_wheels(-0.33, 0.33, 0.36),
    ],
    'van': [
        Part(BOX, (-0.5, -0.5, 0.15), (0.34, 0.5, 1.0), 'paint'),
        Part(BOX, (0.3, -0.48, 0.15), (0.5, 0.48, 0.55), 'paint'),
        *_wheels(-0.3, 0.33, 0.3),
    ],
    'box_truck': [
        Part(BOX, (-0.5, -0.5, 0.28), (0.22, 0.5, 1.0), 'metal'),
        Part(BOX, (0.26, -0.46, 0.12), (0.5, 0.46, 0.78), 'paint'),
        Part(BOX, (-0.5, -0.3, 0.16), (0.3, 0.3, 0.28), 'rubber'),
        *_wheels(-0.3, 0.36, 0.3),
    ],
    'flatbed_truck': [
        Part(BOX, (-0.5, -0.5, 0.3), (0.2, 0.5, 0.46), 'metal'),
        Part(BOX, (0.18, -0.48, 0.15), (0.5, 0.48, 0.6), 'paint'),
        Part(BOX, (0.16, -0.45, 0.6), (0.4, 0.45, 1.0), 'glass'),
        *_wheels(-0.3, 0.34, 0.33),
    ],
    'city_bus': [
        Part(BOX, (-0.5, -0.5, 0.1), (0.5, 0.5, 0.42), 'paint'),
        Part(BOX, (-0.5, -0.48, 0.42), (0.5, 0.48, 0.78), 'glass'),
        Part(BOX, (-0.5, -0.5, 0.78), (0.5, 0.5, 1.0), 'paint'),
        *_wheels(-0.28, 0.33, 0.28),
    ],
    'cargo_trailer': [
        Part(BOX, (-0.5, -0.5, 0.3), (0.5, 0.5, 1.0), 'metal'),
        Part(BOX, (-0.45, -0.45, 0.0), (-0.2, 0.45, 0.3), 'rubber'),
        Part(BOX, (0.2, -0.2, 0.0), (0.24, 0.2, 0.3), 'metal'),
        Part(BOX, (-0.5, -0.5, 0.27), (0.5, 0.5, 0.3), 'reflector'),
    ],
    'excavator': [
        Part(BOX, (-0.5, -0.5, 0.0), (0.15, 0.5, 0.25), 'rubber'),
        Part(BOX, (-0.5, -0.42, 0.28), (0.1, 0.42, 0.6), 'paint'),
        Part(BOX, (-0.15, 0.0, 0.6), (0.1, 0.4, 1.0), 'glass'),
        Part(BOX, (0.05, -0.12, 0.5), (0.4, 0.02, 0.75), 'metal'),
        Part(BOX, (0.38, -0.3, 0.0), (0.5, 0.2, 0.6), 'metal'),
    ],
    'loader': [
        Part(BOX, (-0.5, -0.4, 0.3), (0.05, 0.4, 0.62), 'paint'),
        Part(BOX, (-0.25, -0.32, 0.62), (0.02, 0.32, 1.0), 'glass'),
        Part(BOX, (0.0, -0.25, 0.25), (0.38, 0.25, 0.5), 'metal'),
        Part(BOX, (0.34, -0.5, 0.02), (0.5, 0.5, 0.35), 'metal'),
        *_wheels(-0.32, 0.12, 0.42),
    ],
    'walker': [
        Part(CYLINDER, (-0.3, -0.4, 0.0), (0.3, 0.4, 0.5), 'cloth', 6.0),
        Part(ELLIPSOID, (-0.38, -0.5, 0.4), (0.38, 0.5, 0.88), 'cloth'),
        Part(ELLIPSOID, (-0.22, -0.2, 0.85), (0.22, 0.2, 1.0), 'cloth'),
    ],
    'worker': [
        Part(CYLINDER, (-0.3, -0.4, 0.0), (0.3, 0.4, 0.5), 'cloth', 6.0),
        Part(ELLIPSOID, (-0.4, -0.5, 0.4), (0.4, 0.5, 0.88), 'reflector'),
        Part(ELLIPSOID, (-0.24, -0.24, 0.84), (0.24, 0.24, 1.0), 'paint'),
    ],
    'motorcycle': [
        Part(BOX, (-0.5, -0.16, 0.0), (-0.22, 0.16, 0.5), 'rubber'),
        Part(BOX, (0.22, -0.16, 0.0), (0.5, 0.16, 0.5), 'rubber'),
        Part(BOX, (-0.35, -0.3, 0.3), (0.28, 0.3, 0.75), 'metal'),
        Part(BOX, (0.16, -0.5, 0.7), (0.26, 0.5, 1.0), 'metal', 8.0),
    ],
    'ridden_motorcycle': [
        Part(BOX, (-0.5, -0.16, 0.0), (-0.22, 0.16, 0.35), 'rubber'),
        Part(BOX, (0.22, -0.16, 0.0), (0.5, 0.16, 0.35), 'rubber'),
        Part(BOX, (-0.35, -0.3, 0.2), (0.28, 0.3, 0.5), 'metal'),
        *_RIDER,
    ],
    'bicycle': [
        Part(BOX, (-0.5, -0.08, 0.0), (-0.12, 0.08, 0.62), 'metal', 6.0),
        Part(BOX, (0.12, -0.08, 0.0), (0.5, 0.08, 0.62), 'metal', 6.0),
        Part(BOX, (-0.25, -0.08, 0.3), (0.25, 0.08, 0.85), 'metal', 6.0),
        Part(BOX, (0.2, -0.5, 0.85), (0.28, 0.5, 1.0), 'metal', 8.0),
    ],
    'ridden_bicycle': [
        Part(BOX, (-0.5, -0.06, 0.0), (-0.12, 0.06, 0.38), 'metal', 6.0),
        Part(BOX, (0.12, -0.06, 0.0), (0.5, 0.06, 0.38), 'metal', 6.0),
        Part(BOX, (-0.25, -0.06, 0.2), (0.25, 0.06, 0.5), 'metal', 6.0),
        *_RIDER,
    ],
    'cone': [
        Part(BOX, (-0.5, -0.5, 0.0), (0.5, 0.5, 0.06), 'rubber'),
        Part(CYLINDER, (-0.36, -0.36, 0.06), (0.36, 0.36, 0.4), 'paint'),
        Part(CYLINDER, (-0.26, -0.26, 0.4), (0.26, 0.26, 0.7), 'reflector'),
        Part(CYLINDER, (-0.14, -0.14, 0.7), (0.14, 0.14, 1.0), 'paint'),
    ],
    'jersey_barrier': [
        Part(BOX, (-0.5, -0.5, 0.0), (0.5, 0.5, 0.35), 'concrete'),
        Part(BOX, (-0.2, -0.5, 0.35), (0.2, 0.5, 1.0), 'concrete'),
    ],
    'fence_barrier': [
        Part(BOX, (-0.15, -0.5, 0.1), (0.15, 0.5, 1.0), 'metal', 10.0),
        Part(BOX, (-0.5, -0.45, 0.0), (0.5, -0.3, 0.12), 'rubber'),
        Part(BOX, (-0.5, 0.3, 0.0), (0.5, 0.45, 0.12), 'rubber'),
    ],
    'bin': [Part(CYLINDER, (-0.5, -0.5, 0.0), (0.5, 0.5, 1.0), 'metal')],
}


@dataclass(frozen=True)
class Kind:
    """A nuScenes category with its usual size and forms.

    Attributes:
        category (str): Name in the category table.
        size (tuple[float, float, float]): Mean length, width and height, metres.
        spread (float): Relative standard deviation of the size.
        forms (tuple[str, ...]): Keys of FORMS.
        label (str | None): Detection class, or None if it is not evaluated.
    """

    category: str
    size: tuple[float, float, float]
    spread: float
    forms: tuple[str, ...]
    label: str | None


KINDS = {
    'car': Kind('vehicle.car', (4.6, 1.95, 1.7), 0.07, ('sedan', 'hatchback', 'van'), 'car'),
    'truck': Kind('vehicle.truck', (7.0, 2.5, 2.9), 0.15, ('box_truck', 'flatbed_truck'), 'truck'),
    'bus': Kind('vehicle.bus.rigid', (11.2, 2.95, 3.4), 0.06, ('city_bus',), 'bus'),
    'trailer': Kind('vehicle.trailer', (11.8, 2.9, 3.8), 0.1, ('cargo_trailer',), 'trailer'),
    'construction_vehicle': Kind(
        'vehicle.construction',
        (6.5, 2.8, 3.1),
        0.12,
        ('excavator', 'loader'),
        'construction_vehicle',
    ),
    'pedestrian': Kind(
        'human.pedestrian.adult', (0.73, 0.67, 1.77), 0.06, ('walker',), 'pedestrian'
    ),
    'worker': Kind(
        'human.pedestrian.construction_worker', (0.73, 0.69, 1.78), 0.04, ('worker',), 'pedestrian'
    ),
    'motorcycle': Kind('vehicle.motorcycle', (2.1, 0.78, 1.2), 0.06, ('motorcycle',), 'motorcycle'),
    'ridden_motorcycle': Kind(
        'vehicle.motorcycle', (2.1, 0.78, 1.7), 0.05, ('ridden_motorcycle',), 'motorcycle'
    ),
    'bicycle': Kind('vehicle.bicycle', (1.7, 0.6, 1.1), 0.05, ('bicycle',), 'bicycle'),
    'ridden_bicycle': Kind(
        'vehicle.bicycle', (1.75, 0.62, 1.7), 0.05, ('ridden_bicycle',), 'bicycle'
    ),
    'traffic_cone': Kind(
        'movable_object.trafficcone', (0.41, 0.41, 1.05), 0.1, ('cone',), 'traffic_cone'
    ),
    'barrier': Kind(
        'movable_object.barrier',
        (0.5, 2.5, 1.0),
        0.06,
        ('jersey_barrier', 'fence_barrier'),
        'barrier',
    ),
    'bin': Kind('movable_object.pushable_pullable', (0.6, 0.6, 1.05), 0.15, ('bin',), None),
}
