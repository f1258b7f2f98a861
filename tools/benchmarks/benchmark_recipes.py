"""Recipes on many networks over seeds: accuracy and seconds, as one table.

    python tools/benchmarks/benchmark_recipes.py                    # all networks, eight recipes
    python tools/benchmarks/benchmark_recipes.py retinanet pillar --seeds 1 --num-iters 100
    python tools/benchmarks/benchmark_recipes.py --head float       # heads float, as in InlierQ

Networks: retinanet, atss, faster_rcnn, deformable_detr (demo COCO); bccd, yolox, atss_mobilenet
(real images); pillar, voxel, fcos3d (demo nuScenes); kitti, pointpillars (real scans). MMPTQ_DATA
names the folder of the real data; atss_mobilenet needs its folder weights/ on PYTHONPATH as well.

Every cell (network, recipe, seed) is one run of tools/ptq.py in its own folder below --out. Cells
that are finished are not run again, so an interrupted benchmark goes on where it was. The last row
is the mean over the networks of each recipe. With --head 8bit (the default) only the layers that
give head outputs have 8 bits, and all others those of the scheme; with --head float the heads stay
float as a whole.
"""

import argparse
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, pstdev

import torch
from benchmark_reconstruction import run_cell

from mmptq.quantization import QuantizationError
from mmptq.report import format_table, main_metric, metric_label
from mmptq.utils.cli import tool_parser
from mmptq.utils.files import complete_file, write_json

RECIPES = ['minmax', 'mse', 'brecq', 'qdrop', 'lidar_ptq', 'detptq', 'inlierq', 'inlierq_recon']


@dataclass(frozen=True)
class Network:
    """A float model.

    Attributes:
        config (str): Below ``configs``, without suffix; the checkpoint has its name.
        placement (str): Ending of the names of its schemes.
        heads (tuple[str]): Globs of the layers of its heads.
        loads (bool): Whether the config names the checkpoint itself.
    """

    config: str
    placement: str = ''
    heads: tuple[str, ...] = ('bbox_head.*',)
    loads: bool = False

    @property
    def files(self) -> tuple[str, str | None]:
        """Config and checkpoint; None where the config names it."""
        folder, name = self.config.split('/')
        checkpoint = None if self.loads else f'configs/{folder}/checkpoints/{name}.pth'
        return f'configs/{folder}/{name}.py', checkpoint


LIDAR_HEAD = ('pts_bbox_head.*',)
NETWORKS = {
    'retinanet': Network('demo/retinanet_r18_fpn_demo-coco'),
    'atss': Network('demo/atss_r18_fpn_demo-coco'),
    'faster_rcnn': Network(
        'demo/faster-rcnn_r18_fpn_demo-coco', heads=('rpn_head.*', 'roi_head.*')
    ),
    'deformable_detr': Network('demo/deformable-detr_r18_demo-coco'),
    'bccd': Network('bccd/retinanet_r18_fpn_bccd'),
    'pillar': Network('demo/centerpoint_pillar_demo-nus', '_lidar', LIDAR_HEAD),
    'voxel': Network('demo/centerpoint_voxel_demo-nus', '_sparse', LIDAR_HEAD),
    'fcos3d': Network('demo/fcos3d_r18_fpn_demo-nus-mono'),
    'kitti': Network('kitti/centerpoint_pillar_kitti-mini', '_lidar', LIDAR_HEAD),
    'pointpillars': Network('kitti/pointpillars_kitti-mini', '_lidar', loads=True),
    'yolox': Network('yolox/yolox_nano_coco-mini', loads=True),
    'atss_mobilenet': Network('atss/atss_mobilenetv2_fpn_vehicle-person', loads=True),
}


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('networks', nargs='*', help=f'some of {", ".join(NETWORKS)}; default: all')
    parser.add_argument('--recipes', nargs='+', default=RECIPES)
    parser.add_argument('--bits', default='w4a4', help='start of the name of the scheme, like w4a8')
    parser.add_argument('--head', choices=['8bit', 'float'], default='8bit')
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds')
    parser.add_argument('--num-samples', type=int, default=64, help='calibration samples')
    parser.add_argument('--num-iters', type=int, help='at most so many steps per learned unit')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='more of them, for all runs')
    parser.add_argument('--out', default='work_dirs/benchmark_recipes')
    args = parser.parse_args()
    unknown = [name for name in args.networks if name not in NETWORKS]
    if unknown:
        parser.error(f"there is no network '{unknown[0]}': use some of {', '.join(NETWORKS)}")
    return args


def cell_arguments(args: argparse.Namespace, name: str) -> argparse.Namespace:
    """What ``run_cell`` takes for a network."""
    network = NETWORKS[name]
    config, checkpoint = network.files
    return argparse.Namespace(
        config=config,
        checkpoint=checkpoint,
        scheme=args.bits + network.placement,
        num_samples=args.num_samples,
        distill_samples=args.num_samples,
        num_iters=args.num_iters,
        distill_iters=None,
        val_images=None,
        float=network.heads if args.head == 'float' else (),
        cfg_options=args.cfg_options,
        out=str(Path(args.out) / f'head_{args.head}'),
    )


def run_cells(args: argparse.Namespace) -> dict[str, dict[str, list[dict]]]:
    """Results by network and recipe; the table is written anew after each cell."""
    results: dict[str, dict[str, list[dict]]] = {}
    for seed in range(args.seeds):
        for name in args.networks or NETWORKS:
            cells = results.setdefault(name, {})
            for recipe in args.recipes:
                known = any(cell['float'] for found in cells.values() for cell in found)
                cell = run_cell(cell_arguments(args, name), recipe, seed, val_float=not known)
                cells.setdefault(recipe, []).append(cell)
                write_tables(args, results)
    return results


def value(cell: dict) -> float:
    """The main metric of a cell."""
    return cell['quantized'][main_metric(cell['quantized'])]


def table_rows(results: dict[str, dict[str, list[dict]]]) -> list[dict[str, str]]:
    """A row for each network and recipe, and the mean over networks of each recipe."""
    rows, means = [], {}
    for name, recipes in results.items():
        cells = [cell for found in recipes.values() for cell in found]
        metric = main_metric(cells[0]['quantized'])
        float_value = next((cell['float'][metric] for cell in cells if cell['float']), None)
        for recipe, found in recipes.items():
            values = [value(cell) for cell in found]
            means.setdefault(recipe, []).append(mean(values))
            rows.append(
                {
                    'network': name,
                    'metric': metric_label(metric),
                    'float': '' if float_value is None else f'{float_value:.4f}',
                    'recipe': recipe,
                    'quantized': f'{mean(values):.4f} ± {pstdev(values):.4f}',
                    'seconds': f'{mean(cell["seconds"] for cell in found):.0f}',
                    'seeds': str(len(found)),
                }
            )
    for recipe, values in means.items():
        if len(values) == len(results):
            row = dict.fromkeys(rows[0], '')
            rows.append(
                {**row, 'network': 'mean', 'recipe': recipe, 'quantized': f'{mean(values):.4f}'}
            )
    return rows


def write_tables(args: argparse.Namespace, results: dict[str, dict[str, list[dict]]]) -> str:
    """``table.md`` and ``table.json`` of the finished cells."""
    head = 'layers that give head outputs 8 bit' if args.head == '8bit' else 'heads float'
    about = (
        f'{args.bits}, first layer as in the scheme, {head}, '
        f'{args.num_samples} calibration samples, '
        f'{f"at most {args.num_iters} steps per unit, " if args.num_iters else ""}'
        f'{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}'
    )
    text = f'{about}\n\n{format_table(table_rows(results))}\n'
    folder = Path(args.out) / f'head_{args.head}'
    write_json(dict(about=about, cells=results), folder / f'table_{args.bits}.json')
    with complete_file(folder / f'table_{args.bits}.md') as path:
        path.write_text(text)
    return text


def main() -> None:
    args = parse_args()
    try:
        results = run_cells(args)
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')
    print(write_tables(args, results))


if __name__ == '__main__':
    main()
