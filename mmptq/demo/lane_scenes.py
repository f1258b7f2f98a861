"""The demo data set in CULane's format: rendered road images with lanes, any number and size."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmptq.demo.folder import is_complete, new_folder
from mmptq.demo.lane_scene import LaneLabels, render_lane_scene
from mmptq.demo.road_layout import CATEGORIES
from mmptq.demo.road_view import CULANE_SIZE

GENERATOR_VERSION = 1  # increase when the same seed gives other images
JPEG_QUALITY = 92
SPLITS = ('train', 'val')
# Names of CULane's category lists; dazzling light is called highlight there.
CATEGORY_LISTS = {
    category: f'test{index}_{name}.txt'
    for index, (category, name) in enumerate(
        dict(
            normal='normal',
            crowd='crowd',
            dazzle='hlight',
            shadow='shadow',
            noline='noline',
            arrow='arrow',
            curve='curve',
            cross='cross',
            night='night',
        ).items()
    )
}
# A cycle of twenty images: each category once, then the more frequent categories of CULane.
_TURN = (
    *CATEGORIES,
    *('normal', 'crowd', 'night', 'normal', 'shadow', 'curve'),
    *('normal', 'crowd', 'night', 'noline', 'cross'),
)
_MASK_WIDTH = 16  # pixels in an image of CULane's width


def generate(
    out: str | Path,
    train: int = 2000,
    val: int = 300,
    seed: int = 0,
    width: int = 820,
    height: int = 295,
    on_progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Make the data set, or do nothing if it exists with the same parameters.

    Image ``i`` of a split depends only on the seed, the split and ``i``, so a larger data set
    starts with the images of a smaller one. Layout, as CULane: ``{train,val}/*.jpg`` with
    ``*.lines.txt`` next to them, ``laneseg_label_w16/{train,val}/*.png``,
    ``list/{train_gt,val_gt}.txt`` with masks and flags, ``list/test_split/*.txt`` with the
    validation images of each category, and ``manifest.json``.

    Args:
        out (str | Path): The output folder.
        train (int): Number of training images.
        val (int): Number of validation images, at least one per category.
        seed (int): Non-negative seed.
        width, height (int): Image size, pixels; CULane has 1640x590, the default is half of it.
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
        format='culane', version=GENERATOR_VERSION, seed=seed, width=width, height=height, **counts
    )
    _check(parameters)
    if is_complete(out, parameters):
        return False
    done, total = 0, train + val
    with new_folder(out, parameters) as folder:
        writer = CULaneWriter(folder, width, height)
        for split_index, split in enumerate(SPLITS):
            for index in range(counts[split]):
                rng = np.random.default_rng([seed, split_index, index])
                category = _TURN[index % len(_TURN)]
                image, labels = render_lane_scene(rng, width, height, category)
                writer.add(split, index, category, image, labels)
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
        writer.write_lists()
    return True


class CULaneWriter:
    """Write images, lanes, masks and lists in CULane's layout.

    Args:
        folder (Path): An empty folder.
        width, height (int): Image size, pixels.
    """

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self.folder = folder
        self.size = (width, height)
        self.lines: dict[str, list[str]] = {}
        for split in SPLITS:
            (folder / split).mkdir()
            (folder / 'laneseg_label_w16' / split).mkdir(parents=True)
        (folder / 'list' / 'test_split').mkdir(parents=True)

    def add(
        self, split: str, index: int, category: str, image: np.ndarray, labels: LaneLabels
    ) -> None:
        """Write one image with its labels and store its lines of the lists.

        Args:
            split (str): One of SPLITS.
            index (int): Number of the image in its split.
            category (str): One of CATEGORIES.
            image (np.ndarray): (height, width, 3) uint8, BGR.
            labels (LaneLabels): Its lanes.
        """
        name = f'{split}/{index:05d}'
        mask_name = f'laneseg_label_w16/{name}.png'
        _write_image(self.folder / f'{name}.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        _write_image(self.folder / mask_name, self._draw_mask(labels), [])
        lanes = [' '.join(f'{value:.2f}' for value in lane.ravel()) for lane in labels.lanes]
        text = ''.join(f'{lane}\n' for lane in lanes)
        (self.folder / f'{name}.lines.txt').write_text(text)
        flags = ' '.join(map(str, labels.flags))
        self._remember(f'{split}_gt.txt', f'/{name}.jpg /{mask_name} {flags}')
        if split == 'val':
            self._remember(f'test_split/{CATEGORY_LISTS[category]}', f'{name}.jpg')

    def write_lists(self) -> None:
        """Write the list files."""
        for path, lines in self.lines.items():
            (self.folder / 'list' / path).write_text('\n'.join(lines) + '\n')

    def _remember(self, path: str, line: str) -> None:
        self.lines.setdefault(path, []).append(line)

    def _draw_mask(self, labels: LaneLabels) -> np.ndarray:
        """(height, width) uint8: 0, or 1 to 4 for the position of a lane."""
        width, height = self.size
        mask = np.zeros((height, width), np.uint8)
        thickness = max(round(_MASK_WIDTH * width / CULANE_SIZE[0]), 1)
        for lane, slot in zip(labels.lanes, np.flatnonzero(labels.flags), strict=True):
            points = np.round(lane).astype(np.int32)
            cv2.polylines(mask, [points], False, int(slot) + 1, thickness)
        return mask


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    if not cv2.imwrite(str(path), image, options):
        raise OSError(f"'{path}' could not be written: is the disk full?")


def _check(parameters: dict) -> None:
    """Raise ValueError naming the parameter that is out of range."""
    minimum = {'seed': 0, 'train': 1, 'val': len(CATEGORIES), 'width': 164, 'height': 59}
    for name, least in minimum.items():
        if parameters[name] < least:
            raise ValueError(f"'{name}' is {parameters[name]}: it must be at least {least}.")
