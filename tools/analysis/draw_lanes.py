"""Draws the lanes that a float and a quantized model find in an image, side by side.

python tools/analysis/draw_lanes.py CONFIG FLOAT.pth QUANTIZED.pth IMAGE [--out PICTURE.png]
"""

import argparse
import copy
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import nn

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.build import enter_scope, load_model
from mmptq.quantization import QuantizationError
from mmptq.report import compare_lanes
from mmptq.utils.cli import read_config, require_file, tool_parser
from mmptq.utils.files import complete_file


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config of the model, float or PTQ')
    parser.add_argument('float', help='float checkpoint')
    parser.add_argument('quantized', help='quantized checkpoint of tools/ptq.py')
    parser.add_argument('image', help='image of the size that the config is for')
    parser.add_argument('--out', default='lanes.png', help='the picture, PNG or JPEG')
    return parser.parse_args()


def read_image(path: str) -> np.ndarray:
    """The image, (H, W, 3) uint8, BGR."""
    require_file(path, 'image')
    image = cv2.imread(path)
    if image is None:
        raise ValueError(f"'{path}' is no image that OpenCV can read")
    return image


def load_inputs(config: Config, path: str) -> dict:
    """The image after the test pipeline of the config, as a batch of one."""
    if not config.get('test_dataloader'):
        raise QuantizationError(
            "the config has no 'test_dataloader', whose pipeline prepares images"
        )
    dataset = config.test_dataloader.dataset
    declared = dict(DATASETS.get(dataset.type).METAINFO, **dataset.get('metainfo', {}))
    results = dict(img_path=path, image_size=declared.get('image_size'))
    steps = [step for step in dataset.pipeline if 'Annotations' not in step['type']]
    return pseudo_collate([Compose([TRANSFORMS.build(step) for step in steps])(results)])


@torch.no_grad()
def find_lanes(model: nn.Module, batch: dict) -> list[np.ndarray]:
    """Lanes in pixels of the image, (N, 2) each."""
    sample = model.test_step(batch)[0]
    if 'pred_lanes' not in sample:
        raise QuantizationError(f'{type(model).__name__} gives no lanes: draw_lanes is for lanes')
    return [np.asarray(lane) for lane in sample.pred_lanes]


def draw(args: argparse.Namespace) -> None:
    """Write the picture."""
    if not cv2.haveImageWriter(args.out):
        raise ValueError(f"'{args.out}' has no ending of a picture: use .png or .jpg")
    config = read_config(args.config)
    enter_scope(config)
    image, batch = read_image(args.image), load_inputs(config, args.image)
    lanes = {}
    for name in ('float', 'quantized'):
        model = load_model(config, getattr(args, name), name == 'quantized')
        lanes[name] = find_lanes(model, copy.deepcopy(batch))
    picture = compare_lanes(image, lanes)
    with complete_file(args.out) as temporary:
        temporary.write_bytes(cv2.imencode(Path(args.out).suffix, picture)[1].tobytes())
    counts = ', '.join(f'{len(found)} {name}' for name, found in lanes.items())
    print(f'{args.out}: lanes found: {counts}')


def main() -> None:
    try:
        draw(parse_args())
    except (QuantizationError, ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
