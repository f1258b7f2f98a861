"""Pictures of a street scene: ground, shadows and solids with a depth buffer."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmptq.demo.camera_ground import Ground
from mmptq.demo.camera_palette import Palette
from mmptq.demo.camera_solids import Hit, SolidCaster, Viewpoint
from mmptq.demo.lidar_catalog import BOX, MATERIAL_INDEX, SHAPES
from mmptq.demo.lidar_scene import LidarScene
from mmptq.demo.lidar_solids import STATIC, Solids, actor_solids
from mmptq.demo.textures import smooth_noise

_AMBIENT, _DIFFUSE = 0.55, 0.6
_SHADOW_RANGE = 45.0  # metres
_SIGHT = 260.0  # metres, over which haze hides two thirds of the colour
_LEAVES = 64  # pixels of the repeating noise that makes foliage ragged


@dataclass
class Picture:
    """One image.

    Attributes:
        image (np.ndarray): (h, w, 3) uint8 BGR.
        owner (np.ndarray): (h, w) int, object that is seen, or STATIC.
    """

    image: np.ndarray
    owner: np.ndarray


class CameraRenderer:
    """Take pictures of one scene.

    Args:
        rng (np.random.Generator): Source of colours, textures and the noise of the sensor.
        scene (LidarScene): The scene.
    """

    def __init__(self, rng: np.random.Generator, scene: LidarScene) -> None:
        self.rng = rng
        self.scene = scene
        self.palette = Palette(rng, scene.static, scene.actors)
        tile = smooth_noise(rng, 256, 256, octaves=5)[..., 0]
        self.ground = Ground(scene.terrain, self.palette, tile)
        self.leaves = rng.random((_LEAVES, _LEAVES), dtype=np.float32)
        self.exposure = rng.uniform(0.85, 1.1)

    def render(self, view: Viewpoint, time: float) -> Picture:
        """Take a picture.

        Args:
            view (Viewpoint): The camera.
            time (float): Seconds.
        """
        scene = self.scene
        heights = scene.actor_heights(time)
        moving = actor_solids(scene.actors, time, heights)
        solids = Solids.concatenate([scene.static, moving])
        image, depth = self.ground.paint(view.origin, view.rays())
        owner = np.full(depth.shape, STATIC)
        self._cast_shadows(view, time, heights, image, depth)
        colours = self.palette.colours(solids)
        caster = SolidCaster(view, solids, self.palette.sun)
        for index in caster.order():
            window = caster.window(index)
            if window is None or depth[window].max() < caster.corners[index, :, 2].min():
                continue
            hit = caster.cast(index, window, depth[window])
            if hit is not None:
                keep = self._is_solid(hit, solids.density[index])
                where = np.flatnonzero(hit.seen)[keep]
                place = np.unravel_index(where, hit.seen.shape)
                tone = self._tone(hit, solids, index)[keep]
                depth[window][place] = hit.depth[keep]
                owner[window][place] = solids.owner[index]
                image[window][place] = tone[:, None] * colours[index]
        return Picture(self._develop(image, depth), owner)

    def _is_solid(self, hit: Hit, density: float) -> np.ndarray:
        """(P,) where a porous solid is not seen through."""
        if not np.isfinite(density):
            return np.ones(len(hit.depth), bool)
        return self._leaves(hit) < 1 - np.exp(-np.float32(density) * hit.thickness)

    def _leaves(self, hit: Hit) -> np.ndarray:
        """(P,) noise of the pixels, 0 to 1."""
        rows, columns = np.nonzero(hit.seen)
        top, left = hit.window[0].start, hit.window[1].start
        return self.leaves[(rows + top) % _LEAVES, (columns + left) % _LEAVES]

    def _tone(self, hit: Hit, solids: Solids, index: int) -> np.ndarray:
        """(P,) brightness: light, leaves, and windows in walls."""
        tone = _AMBIENT + _DIFFUSE * hit.light
        material = solids.material[index]
        if material == MATERIAL_INDEX['foliage']:
            tone = tone * (1.2 - 0.6 * self._leaves(hit))
        half = solids.half[index]
        if solids.owner[index] == STATIC and hit.face is not None and half[2] > 1.4:
            along = np.where(hit.face == 0, hit.place[1] * half[1], hit.place[0] * half[0])
            up = (hit.place[2] + 1) * half[2]
            pane = (along % 2.6 > 1.2) & (up % 3.0 > 1.1) & (up % 3.0 < 2.4) & (hit.face != 2)
            tone = np.where(pane, 0.45 * tone, tone)
        return tone.astype(np.float32)

    def _cast_shadows(
        self,
        view: Viewpoint,
        time: float,
        heights: np.ndarray,
        image: np.ndarray,
        depth: np.ndarray,
    ) -> None:
        """Darken the ground under the objects, in place: it shows how far they are."""
        slabs = _slabs_under(self.scene, time, heights)
        caster = SolidCaster(view, slabs, self.palette.sun)
        for index in caster.order():
            window = caster.window(index)
            if window is None or caster.corners[index, :, 2].min() > _SHADOW_RANGE:
                continue
            hit = caster.cast(index, window, depth[window] + 0.5)
            if hit is not None:
                edge = np.abs(hit.place[:2]).max(axis=0)
                shade = 0.5 * np.clip(3 * (1.05 - edge), 0, 1).astype(np.float32)
                image[window][hit.seen] *= 1 - shade[:, None]

    def _develop(self, image: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Haze, exposure, a little blur and noise."""
        clear = np.exp(-depth / np.float32(_SIGHT))[..., None]
        image = np.where(
            np.isfinite(depth)[..., None],
            self.palette.haze.astype(np.float32) * (1 - clear) + image * clear,
            image,
        )
        image = cv2.GaussianBlur(image * np.float32(self.exposure), (0, 0), 0.45)
        image += 2.5 * self.rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _slabs_under(scene: LidarScene, time: float, heights: np.ndarray) -> Solids:
    """Flat boxes on the ground under all objects, a little larger than they are."""
    actors = scene.actors
    count = len(actors)
    places = np.array([actor.position(time) for actor in actors]).reshape(-1, 2)
    half = np.array([actor.size for actor in actors]).reshape(-1, 3) / 2 + [0.25, 0.25, 0]
    half[:, 2] = 0.02
    return Solids(
        shape=np.full(count, SHAPES.index(BOX)),
        centre=np.column_stack([places, heights + 0.02]),
        half=half,
        yaw=np.array([actor.yaw for actor in actors], float),
        material=np.zeros(count, int),
        density=np.full(count, np.inf),
        tint=np.ones(count),
        owner=np.full(count, STATIC),
    )
