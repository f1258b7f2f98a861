"""Shows where the stages of lane networks look: attention maps of a picture, one row per network.

python tools/analysis/plot_attention.py \\
    --model 'with SAD' configs/demo/enet_sad_demo-lane.py with.pth \\
    --model 'without SAD' configs/demo/enet_sad_demo-lane.py without.pth \\
    [--index 0] [--stages 1 2 3] [--out attention.png]

A map is the sum of squares over the channels of a stage of the backbone, from its smallest value
(dark) to its largest (bright); the softmax of self attention distillation is taken of it. Needs
matplotlib: pip install mmptq[plot]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mmdet.apis import init_detector
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.lanes.models.losses.sad_loss import attention_energy
from mmptq.utils.cli import read_config, require_file, tool_parser
from mmptq.utils.files import complete_file


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a float network; give the option again for another row',
    )
    parser.add_argument('--index', type=int, default=0, help='image of the test set')
    parser.add_argument(
        '--stages', type=int, nargs='+', default=[1, 2, 3], help='features of the backbone'
    )
    parser.add_argument('--out', default='attention.png', help='the figure')
    return parser.parse_args()


@torch.no_grad()
def attention(
    config: str, checkpoint: str, index: int, stages: list[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Input image, (H, W, 3) uint8 RGB, and the energy (h, w) of each stage."""
    require_file(checkpoint, 'checkpoint')
    config = read_config(config)
    model = init_detector(config, checkpoint, palette='random', device='cpu')
    dataset = DATASETS.build(config.test_dataloader.dataset)
    if not 0 <= index < len(dataset):
        raise ValueError(f'the test set has images 0 to {len(dataset) - 1}, not {index}')
    data = pseudo_collate([dataset[index]])
    image = data['inputs'][0].permute(1, 2, 0).flip(-1).numpy()
    feats = model.backbone(model.data_preprocessor(data, False)['inputs'])
    missing = [stage for stage in stages if not -len(feats) <= stage < len(feats)]
    if missing:
        raise ValueError(f'the backbone gives features 0 to {len(feats) - 1}, not {missing[0]}')
    return image, [attention_energy(feats[stage])[0].numpy() for stage in stages]


def draw(rows: list[tuple], args: argparse.Namespace) -> None:
    """Write the figure of (name, image, energies) of each network."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    columns = len(args.stages) + 1
    figure, axes = pyplot.subplots(
        len(rows), columns, figsize=(3.4 * columns, 1.7 * len(rows)), squeeze=False
    )
    for line, (name, image, energies) in zip(axes, rows, strict=True):
        height, width = image.shape[:2]
        line[0].imshow(image)
        line[0].set_ylabel(name)
        for axis, stage, energy in zip(line[1:], args.stages, energies, strict=True):
            axis.imshow(
                energy, cmap='magma', extent=(0, width, height, 0), interpolation='bilinear'
            )
            axis.set_title(f'E{stage + 1}' if stage >= 0 else f'stage {stage}')
        for axis in line:
            axis.set(xticks=[], yticks=[])
    with complete_file(args.out) as temporary:
        figure.savefig(
            temporary, dpi=110, bbox_inches='tight', format=Path(args.out).suffix[1:] or 'png'
        )


def main() -> None:
    args = parse_args()
    try:
        rows = [
            (name, *attention(config, checkpoint, args.index, args.stages))
            for name, config, checkpoint in args.model
        ]
        draw(rows, args)
    except ImportError:
        sys.exit('error: the figure needs matplotlib: run `pip install mmptq[plot]`')
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: attention of {len(rows)} networks')


if __name__ == '__main__':
    main()
