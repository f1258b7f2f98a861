"""Small lane data sets in the formats of CULane and TuSimple."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

SIZE = (164, 59)  # a tenth of CULane's
LANES = [
    '30 59 40 49 50 39 60 29',
    '90.5 59.25 88 49 86 39',
]


def write_image(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def culane(tmp_path) -> Path:
    """Three images: two lanes, none, two lanes; lists with and without flags; two categories."""
    for index, lanes in enumerate((LANES, [], LANES)):
        write_image(tmp_path / f'drive/{index}.jpg')
        text = ''.join(f'{lane} \n' for lane in lanes)
        (tmp_path / f'drive/{index}.lines.txt').write_text(text)
    (tmp_path / 'list/test_split').mkdir(parents=True)
    names = [f'drive/{index}.jpg' for index in range(3)]
    flags = ('0 1 1 0', '0 0 0 0', '1 1 1 0')
    lines = [f'/{n} /mask/{i}.png {f}' for i, (n, f) in enumerate(zip(names, flags, strict=True))]
    (tmp_path / 'list/train_gt.txt').write_text('\n'.join(lines) + '\n')
    (tmp_path / 'list/test.txt').write_text('\n'.join(f'/{name}' for name in names) + '\n\n')
    (tmp_path / 'list/test_split/normal.txt').write_text(names[0] + ' \nother/9.jpg\n')
    (tmp_path / 'list/test_split/cross.txt').write_text(f'/{names[1]}\n')
    return tmp_path


@pytest.fixture
def tusimple(tmp_path) -> Path:
    """Two images, one without lanes."""
    rows = list(range(20, 60, 10))
    for name in ('a', 'b'):
        write_image(tmp_path / f'clips/{name}/20.jpg')
    lines = [
        dict(raw_file='clips/a/20.jpg', h_samples=rows, lanes=[[-2, 50, 45, 40], [-2, -2, -2, 7]]),
        dict(raw_file='clips/b/20.jpg', h_samples=rows, lanes=[]),
    ]
    text = '\n'.join(map(json.dumps, lines))
    (tmp_path / 'label.json').write_text(text + '\n')
    return tmp_path
