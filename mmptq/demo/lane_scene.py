"""One demo road image with its lanes, of one of CULane's nine categories."""

from dataclasses import dataclass

import numpy as np

from mmptq.demo.camera import degrade
from mmptq.demo.road_ground import Ground
from mmptq.demo.road_layout import CATEGORIES, NUM_SLOTS, RoadLayout
from mmptq.demo.road_light import darken, dazzle, paint_sky
from mmptq.demo.road_traffic import Painter, random_traffic
from mmptq.demo.road_view import RoadView


@dataclass(frozen=True)
class LaneLabels:
    """Lanes of one image.

    Attributes:
        lanes (tuple[np.ndarray, ...]): (N, 2) float64 x and y each, pixels, bottom to top; lanes
            from left to right, including covered and worn parts.
        flags (tuple[int, ...]): 0 or 1 for each of the four positions.
    """

    lanes: tuple[np.ndarray, ...]
    flags: tuple[int, ...]


def render_lane_scene(
    rng: np.random.Generator, width: int, height: int, category: str
) -> tuple[np.ndarray, LaneLabels]:
    """Render one image with its labels.

    Args:
        rng (np.random.Generator): Source of randomness; the same state gives the same image.
        width, height (int): Image size, pixels.
        category (str): One of CATEGORIES. Images of 'cross' show a crossing and have no lanes.

    Returns:
        tuple: The (height, width, 3) uint8 BGR image and its labels.

    Raises:
        ValueError: If the category is unknown.
    """
    if category not in CATEGORIES:
        raise ValueError(f"unknown category '{category}': choose one of {', '.join(CATEGORIES)}")
    view = RoadView.random(rng, width, height, category == 'curve')
    layout = RoadLayout.random(rng, category)
    image = paint_sky(rng, view)
    image[view.top :] = _paint_ground(rng, view, layout, category)
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    lamps = _add_solids(rng, canvas, view, layout, category)
    image = canvas.astype(np.float32)
    if category == 'night':
        image = darken(rng, image, view, lamps)
    elif category == 'dazzle':
        image = dazzle(rng, image, view)
    return degrade(rng, image), label_lanes(view, layout)


def label_lanes(view: RoadView, layout: RoadLayout) -> LaneLabels:
    """Return the visible markings in CULane's four positions."""
    lanes, flags = [], [0] * NUM_SLOTS
    for marking in layout.markings:
        points = view.lane_points(marking.lateral)
        if marking.slot >= 0 and len(points):
            lanes.append(points)
            flags[marking.slot] = 1
    return LaneLabels(tuple(lanes), tuple(flags))


def _paint_ground(
    rng: np.random.Generator, view: RoadView, layout: RoadLayout, category: str
) -> np.ndarray:
    """(rows, width, 3) float32, the ground with everything painted on it."""
    ground = Ground(rng, view, layout)
    ground.draw_defects()
    for marking in layout.markings:
        ground.draw_marking(marking)
    if category == 'arrow':
        ground.draw_symbols()
    if category == 'cross':
        _paint_crossing(rng, ground)
    if category == 'shadow' or (category in ('normal', 'curve') and rng.random() < 0.3):
        ground.cast_shadows(category == 'shadow')
    return ground.image


def _paint_crossing(rng: np.random.Generator, ground: Ground) -> None:
    """Add a zebra crossing, a side street or both."""
    start = rng.uniform(4.5, 14)
    kind = rng.integers(3)
    if kind != 0:
        ground.draw_side_street(start + rng.uniform(2, 6))
    if kind != 1:
        ground.draw_crossing(start)


def _add_solids(
    rng: np.random.Generator,
    canvas: np.ndarray,
    view: RoadView,
    layout: RoadLayout,
    category: str,
) -> list[np.ndarray]:
    """Draw objects beside the road and vehicles; return the positions of the lamps."""
    painter = Painter(canvas, view)
    for edge, side in ((layout.left, -1), (layout.right, 1)):
        kind = rng.integers(4) if category != 'cross' else -1
        colour = np.array([95.0, 105, 100]) * rng.uniform(0.5, 1.6) + rng.normal(0, 10, 3)
        lateral = edge + side * rng.uniform(0.4, 4)
        if kind == 0:
            painter.draw_wall(lateral, 0.0, rng.uniform(0.6, 1.3), colour)
        elif kind == 1:
            painter.draw_posts(lateral, 0.75, 4.0, colour[0])
            painter.draw_wall(lateral, 0.45, 0.75, colour + 30)
        elif kind == 2:
            painter.draw_wall(lateral + 4 * side, 0.0, rng.uniform(3, 9), colour)
        if rng.random() < 0.4:
            painter.draw_posts(lateral, rng.uniform(4, 7), rng.uniform(14, 25), colour[1])
    lamps = []
    for vehicle in random_traffic(rng, layout, category == 'crowd'):
        lamps.extend(painter.draw_vehicle(vehicle))
    return lamps
