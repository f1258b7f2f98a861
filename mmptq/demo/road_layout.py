"""Lay out one road: number of lanes, markings and their wear."""

from dataclasses import dataclass

import numpy as np

WHITE = (225.0, 228.0, 230.0)  # BGR
YELLOW = (70.0, 175.0, 225.0)
NUM_SLOTS = 4  # CULane labels two lane boundaries on each side of the camera
CATEGORIES = (
    'normal',
    'crowd',
    'dazzle',
    'shadow',
    'noline',
    'arrow',
    'curve',
    'cross',
    'night',
)


@dataclass(frozen=True)
class Marking:
    """One longitudinal line of paint.

    Attributes:
        lateral (float): Metres from the centre of the camera's lane.
        slot (int): Index in CULane's four positions, left to right; -1 for outer markings.
        colour (tuple[float, float, float]): BGR 0-255.
        width (float): Metres.
        period (float): Metres from dash to dash; 0 for a solid line.
        dash (float): Metres of paint per period.
        phase (float): Metres.
        opacity (float): Opacity of the paint, 0 to 1.
        wear (float): Fraction of the line that is missing in patches, 0 to 1.
        double (bool): Whether there are two thin parallel lines.
    """

    lateral: float
    slot: int
    colour: tuple[float, float, float]
    width: float
    period: float
    dash: float
    phase: float
    opacity: float
    wear: float
    double: bool = False


@dataclass(frozen=True)
class RoadLayout:
    """The cross-section of a road.

    Attributes:
        lane_width (float): Metres.
        left, right (float): Metres from the centre of the camera's lane to the edges of the
            asphalt.
        oncoming (int): Number of lanes of oncoming traffic, on the left.
        lanes_left, lanes_right (int): Lanes beside the camera's lane, including oncoming ones.
        markings (tuple[Marking, ...]): From left to right, none at a crossing.
    """

    lane_width: float
    left: float
    right: float
    oncoming: int
    lanes_left: int
    lanes_right: int
    markings: tuple[Marking, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, category: str) -> 'RoadLayout':
        """Draw a road of one of CULane's categories."""
        lanes = int(rng.choice([2, 3, 4, 5], p=[0.2, 0.35, 0.3, 0.15]))
        oncoming = int(rng.integers(0, lanes - 1)) if rng.random() < 0.5 else 0
        lanes_left = int(rng.integers(oncoming, lanes))
        lane_width = rng.uniform(3.0, 3.8)
        left, right = -(lanes_left + 0.5) * lane_width, (lanes - lanes_left - 0.5) * lane_width
        markings = []
        if category != 'cross':
            paint = Paint(rng, category)
            for index in range(lanes + 1):
                position = index - lanes_left
                slot = position + 1 if -1 <= position <= 2 else -1
                kind = 'edge' if index in (0, lanes) else 'divider'
                kind = 'centre' if oncoming and index == oncoming else kind
                lateral = (position - 0.5) * lane_width + rng.normal(0, 0.04)
                markings.append(paint.marking(lateral, slot, kind))
        return cls(
            lane_width=lane_width,
            left=left - rng.uniform(0.3, 1.5),
            right=right + rng.uniform(0.3, 2.5),
            oncoming=oncoming,
            lanes_left=lanes_left,
            lanes_right=lanes - lanes_left - 1,
            markings=tuple(markings),
        )


class Paint:
    """Common properties of the markings of one road.

    Args:
        rng (np.random.Generator): Source of randomness.
        category (str): One of CATEGORIES.
    """

    def __init__(self, rng: np.random.Generator, category: str) -> None:
        self.rng = rng
        self.faded = category == 'noline'
        self.period = rng.uniform(7.5, 15)
        self.dash = self.period * rng.uniform(0.35, 0.6)
        self.phase = rng.uniform(0, self.period)
        self.width = rng.uniform(0.13, 0.2)
        self.opacity = rng.uniform(0.12, 0.35) if self.faded else rng.uniform(0.55, 0.95)
        self.wear = rng.uniform(0.2, 0.6) if self.faded else rng.choice([0.0, rng.uniform(0, 0.5)])

    def marking(self, lateral: float, slot: int, kind: str) -> Marking:
        """Make one line.

        Args:
            lateral (float): Metres from the centre of the camera's lane.
            slot (int): CULane position or -1.
            kind (str): 'edge', 'divider' or 'centre' (between the directions).
        """
        rng = self.rng
        dashed = kind == 'divider' and rng.random() < 0.85
        yellow = kind == 'centre' or (kind == 'edge' and rng.random() < 0.25)
        return Marking(
            lateral=lateral,
            slot=slot,
            colour=YELLOW if yellow else WHITE,
            width=self.width,
            period=self.period if dashed else 0.0,
            dash=self.dash,
            phase=self.phase + rng.uniform(-0.5, 0.5),
            opacity=float(np.clip(self.opacity * rng.uniform(0.8, 1.2), 0.08, 0.97)),
            wear=float(np.clip(self.wear * rng.uniform(0.5, 1.5), 0, 0.75)),
            double=kind == 'centre' and rng.random() < 0.5,
        )
