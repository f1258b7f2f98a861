"""Paint the ground of a road scene: asphalt, verges, markings, arrows, crossings and shadows."""

import cv2
import numpy as np

from mmptq.demo.road_layout import WHITE, Marking, RoadLayout
from mmptq.demo.road_view import RoadView
from mmptq.demo.textures import smooth_noise

_TILE = 256  # pixels of a repeating noise tile
_SHIFT = 4  # fractional bits of cv2's polygon coordinates
VERGES = ((60, 110, 80), (70, 100, 120), (135, 135, 138), (95, 118, 130))  # grass, earth, pavement
# Outlines (lateral, distance) in a box one metre wide and long, tip ahead.
_STRAIGHT = ((-0.1, 0), (0.1, 0), (0.1, 0.6), (0.3, 0.6), (0, 1), (-0.3, 0.6), (-0.1, 0.6))
_TURN = (
    (-0.1, 0),
    (0.1, 0),
    (0.1, 0.75),
    (-0.25, 0.75),
    (-0.25, 0.95),
    (-0.5, 0.65),
    (-0.25, 0.4),
    (-0.25, 0.55),
    (-0.1, 0.55),
)
_DIAMOND = ((0, 0), (0.3, 0.5), (0, 1), (-0.3, 0.5))
SYMBOLS = (_STRAIGHT, _TURN, tuple((-x, y) for x, y in _TURN), _DIAMOND)


class Ground:
    """The part of an image below the horizon.

    Args:
        rng (np.random.Generator): Source of randomness.
        view (RoadView): The camera.
        layout (RoadLayout): The road.

    Attributes:
        image (np.ndarray): (rows, width, 3) float32, BGR 0-255, from row ``view.top`` down.
    """

    def __init__(self, rng: np.random.Generator, view: RoadView, layout: RoadLayout) -> None:
        self.rng = rng
        self.view = view
        self.layout = layout
        self.tile = smooth_noise(rng, _TILE, _TILE, octaves=5)[..., 0]
        self.grain = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
        self.image = self._bare()

    def _sample(self, tile: np.ndarray, metres: float, stretch: float = 1.0) -> np.ndarray:
        """Lay out a noise tile on the ground.

        Args:
            tile (np.ndarray): (256, 256) float32.
            metres (float): Length of the tile's side across the road.
            stretch (float): Its length along the road in multiples of the side.

        Returns:
            np.ndarray: (rows, width) float32.
        """
        across = self.view.laterals * np.float32(_TILE / metres)
        along = self.view.distances * np.float32(_TILE / metres / stretch)
        shift = self.rng.uniform(0, _TILE, 2).astype(np.float32)
        # Distant values exceed the 16-bit coordinates of remap.
        x = (across + shift[0]) % _TILE
        y = np.broadcast_to((along + shift[1]) % _TILE, x.shape)
        return cv2.remap(tile, x, y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)

    def _bare(self) -> np.ndarray:
        """Asphalt between verges."""
        rng, view = self.rng, self.view
        grey = rng.uniform(65, 140) + rng.normal(0, 4, 3)
        verge = np.array(VERGES[rng.integers(len(VERGES))]) * rng.uniform(0.8, 1.2)
        coverage = self._coverage(*self._strip())
        fade = np.exp(-view.distances / 30)
        texture = 11 * self._sample(self.tile, 12.0, 3.0)
        texture += rng.uniform(3, 10) * fade * self._sample(self.grain, 3.0, 2.0)
        texture += 9 * (1 - coverage) * self._sample(self.tile, 3.0)
        image = np.empty((*coverage.shape, 3), np.float32)
        for channel in range(3):
            colour = verge[channel] + np.float32(grey[channel] - verge[channel]) * coverage
            image[..., channel] = colour + texture
        return image

    def _strip(self) -> tuple[float, float]:
        """Middle and width of the asphalt, metres."""
        left, right = self.layout.left, self.layout.right
        return (left + right) / 2, right - left

    def _coverage(self, lateral: float, width: float) -> np.ndarray:
        """(rows, width) float32, fraction of each pixel covered by a strip along the road."""
        view = self.view
        distance = np.abs(view.laterals - np.float32(lateral))
        return np.clip(0.5 + (np.float32(width / 2) - distance) / view.footprints, 0, 1)

    def _blend(self, opacity: np.ndarray, colour: tuple[float, float, float]) -> None:
        """Paint a colour with a (rows, width) opacity."""
        for channel in range(3):
            layer = self.image[..., channel]
            layer += opacity * (np.float32(colour[channel]) - layer)

    def draw_marking(self, marking: Marking) -> None:
        """Paint one longitudinal line with its dashes and wear."""
        offsets = (-0.16, 0.16) if marking.double else (0.0,)
        opacity = sum(self._coverage(marking.lateral + shift, marking.width) for shift in offsets)
        opacity *= np.float32(marking.opacity) * self._dashes(marking)
        if marking.wear:
            patches = self._sample(self.tile, 2.0, 4.0)
            threshold = np.float32(np.quantile(self.tile, marking.wear))
            opacity *= 0.08 + 0.92 * np.clip(0.5 + 4 * (patches - threshold), 0, 1)
        self._blend(opacity, marking.colour)

    def _dashes(self, marking: Marking) -> np.ndarray:
        """(rows, 1) float32, painted fraction of each row along the road."""
        distances = self.view.distances
        if not marking.period:
            return np.ones_like(distances)
        depth = distances**2 / (self.view.focal * self.view.camera_height)  # metres under a row
        place = (distances - marking.phase) % marking.period
        edge = marking.dash / 2 - np.abs(place - marking.dash / 2)
        share = np.clip(0.5 + edge / depth, 0, 1)
        blur = np.clip(depth / marking.period, 0, 1)  # distant dashes merge into one faint line
        return (share + blur * (marking.dash / marking.period - share)).astype(np.float32)

    def draw_symbols(self) -> None:
        """Paint arrows or diamonds in the lanes, each at one distance."""
        rng, layout = self.rng, self.layout
        for _ in range(rng.integers(1, 3)):
            start, length = rng.uniform(6, 16), rng.uniform(3, 6)
            for lane in range(-min(layout.lanes_left, 1), min(layout.lanes_right, 1) + 1):
                outline = np.array(SYMBOLS[rng.integers(len(SYMBOLS))])
                lateral = lane * layout.lane_width + outline[:, 0] * rng.uniform(1.2, 1.8)
                self._fill(lateral, start + length * outline[:, 1], rng.uniform(0.5, 0.9))

    def draw_side_street(self, start: float) -> None:
        """Lay out asphalt across the verges.

        Args:
            start (float): Metres to its near side.
        """
        rng, view = self.rng, self.view
        edge = view.distances - np.float32(start)
        depth = view.distances * view.footprints / np.float32(view.camera_height)
        length = np.float32(rng.uniform(6, 14))
        band = np.clip(0.5 + edge / depth, 0, 1) * np.clip(0.5 + (length - edge) / depth, 0, 1)
        asphalt = self.image[:, view.width // 2].mean(axis=0)
        outside = 1 - self._coverage(*self._strip())
        self._blend(band * outside, asphalt)

    def draw_crossing(self, start: float) -> None:
        """Paint a zebra crossing and sometimes a stop line.

        Args:
            start (float): Metres to its near side.
        """
        rng, layout = self.rng, self.layout
        length, width, opacity = rng.uniform(3, 6), rng.uniform(0.4, 0.6), rng.uniform(0.5, 0.95)
        for left in np.arange(layout.left + 0.4, layout.right - width, 2 * width):
            sides = left + np.array([0, width, width, 0])
            self._fill(sides, start + length * np.array([0, 0, 1, 1]), opacity)
        if rng.random() < 0.5:
            sides = layout.left + (layout.right - layout.left) * np.array([0, 1, 1, 0])
            self._fill(sides, start - 1.2 + np.array([0, 0, 0.35, 0.35]), opacity)

    def draw_defects(self) -> None:
        """Add repaired patches and dark seams that resemble markings."""
        rng, layout = self.rng, self.layout
        for _ in range(rng.integers(0, 4)):
            near = rng.uniform(4, 25)
            if rng.random() < 0.5:
                width, length = rng.uniform(0.8, 3), rng.uniform(1, 8)
            else:
                width, length = rng.uniform(0.04, 0.1), rng.uniform(8, 30)
            left = rng.uniform(layout.left, layout.right - width)
            sides = left + width * np.array([0, 1, 1, 0]) + rng.normal(0, 0.1, 4)
            shade = np.full(3, rng.uniform(35, 75))
            self._fill(sides, near + length * np.array([0, 0, 1, 1]), rng.uniform(0.2, 0.6), shade)

    def _fill(
        self,
        lateral: np.ndarray,
        distance: np.ndarray,
        opacity: float,
        colour: tuple[float, float, float] = WHITE,
    ) -> None:
        """Paint a polygon on the road; it may extend beyond the image."""
        distance = np.maximum(distance, 0.5)
        points = self.view.project(lateral, distance) - [0, self.view.top]
        mask = np.zeros(self.image.shape[:2], np.uint8)
        corners = np.round(np.clip(points, -1e4, 1e4) * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
        rows = np.flatnonzero(mask.any(axis=1))
        if len(rows):
            part = slice(rows[0], rows[-1] + 1)
            share = mask[part].astype(np.float32)[..., None] * np.float32(opacity / 255)
            self.image[part] += share * (np.asarray(colour, np.float32) - self.image[part])

    def cast_shadows(self, strong: bool) -> None:
        """Darken the ground under trees and houses.

        Args:
            strong (bool): Whether shadows cover a large part of the road.
        """
        rng, view = self.rng, self.view
        shade = np.zeros(view.laterals.shape, np.float32)
        if rng.random() < 0.6:
            level = np.float32(rng.uniform(-0.3, 0.1) if strong else rng.uniform(0.2, 0.5))
            leaves = self._sample(self.tile, rng.uniform(8, 20))
            shade = np.clip(0.5 + 6 * (leaves - level), 0, 1)
        for _ in range(rng.integers(1, 4) if strong else 1):
            slope, near = rng.normal(0, 0.8), rng.uniform(4, 25)
            edge = view.distances + np.float32(slope) * view.laterals - np.float32(near)
            length = np.float32(rng.uniform(2, 12))
            band = np.clip(0.5 + 4 * edge, 0, 1) * np.clip(0.5 + 4 * (length - edge), 0, 1)
            shade = np.maximum(shade, band)
        self.image *= 1 - np.float32(rng.uniform(0.35, 0.65)) * shade[..., None]
