"""One demo image: labelled objects and unlabelled distractors on clutter, with occlusion."""

from dataclasses import dataclass, replace

import numpy as np

from mmptq.demo.camera import cluttered_background, degrade
from mmptq.demo.drawing import Pose, coverage, paint, window
from mmptq.demo.shapes import DISTRACTORS, OBJECTS
from mmptq.demo.textures import TEXTURES

CLASSES = tuple(OBJECTS)
MIN_IN_FRAME = 0.55  # minimum fraction of an object inside the image
MIN_VISIBLE = 0.4  # minimum fraction of an object's pixels that stay visible
_BACKGROUND = -1


@dataclass
class SceneObject:
    """A labelled object and its visible pixels.

    Attributes:
        label (int): Index into CLASSES.
        mask (np.ndarray): (height, width) bool, visible pixels.
    """

    label: int
    mask: np.ndarray


class Scene:
    """Paint objects over each other and track the visible pixels of each.

    Args:
        rng (np.random.Generator): Source of randomness.
        width, height (int): Image size, pixels.
    """

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.width = width
        self.height = height
        self.image = cluttered_background(rng, width, height)
        self.owner = np.full((height, width), _BACKGROUND, np.int16)
        self.labels: list[int | None] = []
        self.sizes: list[int] = []

    def add(self, contours: list[np.ndarray], texture: str, label: int | None) -> None:
        """Place one object that keeps the others visible; give up after ten trials."""
        for _ in range(10):
            pose = self._random_pose()
            rows, columns = window(pose, self.width, self.height)
            mask = coverage(contours, pose, rows, columns)
            if self._fits(mask > 0.5, rows, columns, _full_area(contours, pose)):
                break
        else:
            return
        local = replace(pose, x=pose.x - columns.start, y=pose.y - rows.start)
        paint(self.image[rows, columns], mask, texture, local, self.rng)
        self.owner[rows, columns][mask > 0.5] = len(self.labels)
        self.labels.append(label)
        self.sizes.append(int((mask > 0.5).sum()))

    def objects(self) -> list[SceneObject]:
        """Return the labelled objects with their visible masks."""
        return [
            SceneObject(label, self.owner == index)
            for index, label in enumerate(self.labels)
            if label is not None
        ]

    def _random_pose(self) -> Pose:
        rng = self.rng
        scale = min(self.width, self.height)
        half = 0.5 * scale * np.exp(rng.uniform(np.log(0.075), np.log(0.65)))
        aspect = np.exp(rng.uniform(-0.3, 0.3))
        return Pose(
            x=rng.uniform(0, self.width),
            y=rng.uniform(0, self.height),
            half_width=half * aspect,
            half_height=half / aspect,
            angle=rng.uniform(0, 2 * np.pi),
        )

    def _fits(self, mask: np.ndarray, rows: slice, columns: slice, full_area: float) -> bool:
        if mask.sum() < max(MIN_IN_FRAME * full_area, 12):
            return False
        covered = self.owner[rows, columns][mask]
        lost = np.bincount(covered[covered >= 0], minlength=len(self.sizes))
        for index in np.flatnonzero(lost):
            visible = (self.owner == index).sum() - lost[index]
            if visible < max(MIN_VISIBLE * self.sizes[index], 12):
                return False
        return True


def _full_area(contours: list[np.ndarray], pose: Pose) -> float:
    """Return the area of the complete silhouette in pixels, also outside the image."""
    areas = []
    for contour in contours:
        x, y = contour[:, 0], contour[:, 1]
        areas.append(0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    holes = sum(areas[1:])
    return (areas[0] - holes) * pose.half_width * pose.half_height


def render_scene(
    rng: np.random.Generator, width: int, height: int
) -> tuple[np.ndarray, list[SceneObject]]:
    """Render one image with its labels.

    Args:
        rng (np.random.Generator): Source of randomness; the same state gives the same image.
        width, height (int): Image size, pixels.

    Returns:
        tuple: The (height, width, 3) uint8 BGR image and its labelled objects.
    """
    scene = Scene(rng, width, height)
    objects = rng.integers(2, 9)
    distractors = rng.integers(1, 6)
    is_object = rng.permutation(np.arange(objects + distractors) < objects)
    for labelled in is_object:
        if labelled:
            label = int(rng.integers(len(CLASSES)))
            contours, texture = OBJECTS[CLASSES[label]]
        else:
            label = None
            contours = DISTRACTORS[str(rng.choice(list(DISTRACTORS)))]
            texture = str(rng.choice(list(TEXTURES)))
        scene.add(contours, texture, label)
    return degrade(rng, scene.image), scene.objects()
