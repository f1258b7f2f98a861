"""The demo data set in COCO format: textured objects on clutter, any number and size of images."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmptq.demo.folder import is_complete, new_folder
from mmptq.demo.scene_2d import CLASSES, SceneObject, render_scene

GENERATOR_VERSION = 2  # increase when the same seed gives other images
JPEG_QUALITY = 92
SPLITS = ('train', 'val')


def generate(
    out: str | Path,
    train: int = 1600,
    val: int = 300,
    seed: int = 0,
    width: int = 320,
    height: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Make the data set, or do nothing if it exists with the same parameters.

    Image ``i`` of a split depends only on the seed, the split and ``i``, so a larger data set
    starts with the images of a smaller one. Layout: ``annotations/instances_{train,val}.json``,
    ``train/*.jpg``, ``val/*.jpg``, ``manifest.json``.

    Args:
        out (str | Path): The output folder.
        train (int): Number of training images.
        val (int): Number of validation images.
        seed (int): Non-negative seed.
        width, height (int): Image size, pixels; at least 64 each.
        on_progress (Callable | None): Called with (images done, images in total).

    Returns:
        bool: True if the data set was made, False if it already existed.

    Raises:
        ValueError: If a parameter is out of range.
        FileExistsError: If ``out`` exists and is not a generated data set.
        OSError: If an image cannot be written.
    """
    counts = {'train': train, 'val': val}
    parameters = dict(
        format='coco', version=GENERATOR_VERSION, seed=seed, width=width, height=height, **counts
    )
    _check(parameters)
    if is_complete(out, parameters):
        return False
    total = train + val
    with new_folder(out, parameters) as folder:
        (folder / 'annotations').mkdir()
        done = 0
        for split_index, split in enumerate(SPLITS):
            (folder / split).mkdir()
            annotations = CocoAnnotations()
            for index in range(counts[split]):
                rng = np.random.default_rng([seed, split_index, index])
                image, objects = render_scene(rng, width, height)
                name = annotations.add_image(width, height, objects)
                _write_image(folder / split / name, image)
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            annotations.write(folder / 'annotations' / f'instances_{split}.json')
    return True


class CocoAnnotations:
    """Collect images and boxes in the structure of a COCO instances file."""

    def __init__(self) -> None:
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add_image(self, width: int, height: int, objects: list[SceneObject]) -> str:
        """Add an image with its objects.

        Args:
            width, height (int): Image size, pixels.
            objects (list[SceneObject]): Labelled objects.

        Returns:
            str: The file name of the image.
        """
        image_id = len(self.images) + 1
        name = f'{image_id:06d}.jpg'
        self.images.append({'id': image_id, 'file_name': name, 'width': width, 'height': height})
        for thing in objects:
            self.annotations.append(
                {
                    'id': len(self.annotations) + 1,
                    'image_id': image_id,
                    'category_id': thing.label + 1,
                    'bbox': _box(thing.mask),
                    'area': int(thing.mask.sum()),
                    'segmentation': _polygons(thing.mask),
                    'iscrowd': 0,
                }
            )
        return name

    def write(self, path: Path) -> None:
        """Write the instances file; equal content gives equal bytes."""
        categories = [{'id': index + 1, 'name': name} for index, name in enumerate(CLASSES)]
        content = {'images': self.images, 'annotations': self.annotations, 'categories': categories}
        path.write_text(json.dumps(content))


def _box(mask: np.ndarray) -> list[int]:
    """Return the COCO box [left, top, width, height] of a mask, pixels."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def _polygons(mask: np.ndarray) -> list[list[int]]:
    """Return the outer contours of a mask as COCO polygons [x1, y1, x2, y2, ...]."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return [contour.reshape(-1).tolist() for contour in contours if len(contour) >= 3]


def _write_image(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"'{path}' could not be written: is the disk full?")


def _check(parameters: dict) -> None:
    """Raise ValueError naming the parameter that is out of range."""
    minimum = {'seed': 0, 'train': 1, 'val': 1, 'width': 64, 'height': 64}
    for name, least in minimum.items():
        if parameters[name] < least:
            raise ValueError(f"'{name}' is {parameters[name]}: it must be at least {least}.")
