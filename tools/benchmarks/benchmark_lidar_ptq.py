"""LiDAR-PTQ step by step, on demo models and on real KITTI frames: tables from one command.

    python tools/benchmarks/benchmark_lidar_ptq.py [GROUP ...] [--seeds 0 1 2] \
        [--out work_dirs/lidar_ptq]

Groups: pillar, voxel (demo nuScenes), pointpillars, centerpoint (real KITTI frames; MMPTQ_DATA
names the folder that holds kitti_mini/). A cell is a model, a scheme, a recipe and a seed; it runs
through tools/ptq.py and evaluates on the whole validation set. Finished cells stay in the folder of
--out and are not run again. --recipes and --schemes choose some of them.
"""

import argparse
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from run_tool import ToolError, run_tool

from mmptq.report import find_record, format_table, read_record
from mmptq.utils.cli import tool_parser
from mmptq.utils.files import complete_file, write_json

ROOT = Path(__file__).resolve().parents[2]
# In the order of the paper's ablation, after the calibration that it starts from; lidar_ptq_local
# is the last step without the loss of the step before it.
ABLATION = ['entropy', 'minmax', 'lidar_ptq_grid', 'lidar_ptq_tgpl', 'lidar_ptq_local', 'lidar_ptq']
DEMO = 'NuScenes metric/pred_instances_3d_NuScenes/'
KITTI = 'iou3d/'


@dataclass(frozen=True)
class Group:
    """A model and what is measured on it.

    Attributes:
        leaf (str): A PTQ config of the model; scheme and recipe are replaced.
        placement (str): Ending of the names of its schemes.
        metrics (dict): Column to metric.
        distances (bool): Whether recall by distance is measured, too.
    """

    leaf: str
    placement: str
    metrics: dict[str, str]
    distances: bool = True


def _group(leaf: str, placement: str, prefix: str, *names: str) -> Group:
    return Group(f'configs/lidar_ptq/{leaf}.py', placement, {n: prefix + n for n in names})


GROUPS = {
    'pillar': _group('centerpoint_pillar_lidar_ptq_int8_demo-nus', 'lidar', DEMO, 'mAP', 'NDS'),
    'voxel': _group('centerpoint_voxel_lidar_ptq_int8_demo-nus', 'sparse', DEMO, 'mAP', 'NDS'),
    'pointpillars': _group('pointpillars_lidar_ptq_int8_kitti-mini', 'lidar', KITTI, 'mAP'),
    'centerpoint': _group('centerpoint_pillar_lidar_ptq_int8_kitti-mini', 'lidar', KITTI, 'mAP'),
}
RECIPES = {
    'int8': ABLATION,
    'w4a8': ABLATION,
    'w4a4': ['minmax', 'lidar_ptq_grid', 'brecq', 'qdrop', 'lidar_ptq'],
}


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('groups', nargs='*', help=f'some of {", ".join(GROUPS)}; default: all')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--schemes', nargs='+', choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument('--recipes', nargs='+', help='default: all that belong to the scheme')
    parser.add_argument('--num-iters', type=int, help="steps per unit in place of the recipe's")
    parser.add_argument('--num-samples', type=int, help="in place of the leaf's calibration scans")
    parser.add_argument('--out', default='work_dirs/lidar_ptq', help='folder of cells and tables')
    parser.add_argument('--table', action='store_true', help='only print the cells that are done')
    args = parser.parse_args()
    unknown = [name for name in args.groups if name not in GROUPS]
    if unknown:
        parser.error(f"there is no group '{unknown[0]}': use some of {', '.join(GROUPS)}")
    return args


def cell_config(group: Group, scheme: str, recipe: str, seed: int, args) -> Config:
    """The leaf of a group with another scheme and recipe, and recall by distance."""
    cfg = Config.fromfile(ROOT / group.leaf)
    base = ROOT / 'configs/_base_'
    cfg.quantizer = Config.fromfile(base / f'schemes/{scheme}_{group.placement}.py').quantizer
    own = Path(group.leaf).parent.name
    if recipe != own:  # the leaf may have adapted its own recipe to the size of the model
        adapted = base.parent / own / Path(group.leaf).name
        cfg.stages = recipe_stages(recipe, Config.fromfile(adapted).stages)
    for stage in cfg.stages:
        if args.num_iters and stage.type == 'Reconstructor':
            stage.num_iters = args.num_iters
    if args.num_samples:
        cfg.merge_from_dict({'calibration.num_samples': args.num_samples})
    cfg.randomness = dict(seed=seed)
    if group.distances:
        cfg.val_evaluator = [cfg.val_evaluator, dict(type='RecallByDistanceMetric')]
    return cfg


def recipe_stages(recipe: str, adapted: list) -> list:
    """Stages of a recipe; what is learned takes as many steps as in the leaf's own recipe."""
    stages = Config.fromfile(ROOT / f'configs/_base_/recipes/{recipe}.py').stages
    budget = next((s for s in adapted if s['type'] == 'Reconstructor'), {})
    for stage in stages:
        if stage['type'] == 'Reconstructor':
            stage.update({k: budget[k] for k in ('num_iters', 'batch_size') if k in budget})
    return stages


def run_cell(folder: Path, cfg: Config) -> dict:
    """Result of tools/ptq.py with a config; taken from the folder if it is there."""
    if find_record(folder, 'result') is None:
        folder.mkdir(parents=True, exist_ok=True)
        cfg.dump(folder / 'config.py')
        try:
            run_tool(*('ptq', folder / 'config.py', '--work-dir', folder), log=folder / 'log.txt')
        except ToolError:
            sys.exit(f"error: the run in '{folder}' failed: read its log.txt")
    return read_record(folder, 'result')


def columns(group: Group, metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of a group, under the names of the table."""
    found = {name: metrics[key] for name, key in group.metrics.items()}
    distances = {k: v for k, v in metrics.items() if k.startswith('recall/') and 'num' not in k}
    return {**found, **{f'recall {k.split("/")[1]}': v for k, v in distances.items()}}


def mean_row(name: str, runs: list[dict[str, float]], seconds: list[float]) -> dict:
    """A row of the table: means over seeds, with the spread of the first metric."""
    row = dict(recipe=name, seeds=len(runs))
    for index, key in enumerate(runs[0]):
        values = [run[key] for run in runs]
        row[key] = f'{statistics.fmean(values):.4f}'
        if index == 0 and len(values) > 1:
            row[key] += f' ± {statistics.stdev(values):.4f}'
    row['seconds'] = f'{statistics.fmean(seconds):.0f}' if seconds else '-'
    return row


def float_metrics(folder: Path) -> dict[str, float]:
    """Metrics of the float model, which the first cell of a group measures; empty before."""
    found = (result['float'] for result in results_of(folder, '*/*/*'))
    return next((metrics for metrics in found if metrics), {})


def results_of(folder: Path, pattern: str) -> list[dict]:
    """Results of the finished runs whose work directories match a glob."""
    found = [find_record(work_dir, 'result') for work_dir in sorted(folder.glob(pattern))]
    return [result for result in found if result is not None]


def table_rows(out: Path, group_name: str, scheme: str) -> list[dict]:
    """Rows of all finished cells of a group and scheme, the float model first."""
    group, rows = GROUPS[group_name], []
    for recipe in RECIPES[scheme]:
        results = results_of(out / group_name / scheme / recipe, '*')
        if results:
            runs = [columns(group, result['quantized']) for result in results]
            rows.append(mean_row(recipe, runs, [result['seconds'] for result in results]))
    before = float_metrics(out / group_name)
    if rows and before:
        rows.insert(0, mean_row('float', [columns(group, before)], []))
    return rows


def report(out: Path) -> str:
    """All tables as Markdown."""
    parts = [f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads']
    for group_name in GROUPS:
        for scheme in RECIPES:
            rows = table_rows(out, group_name, scheme)
            if rows:
                parts.append(f'**{group_name}, {scheme}**\n\n{format_table(rows)}')
    return '\n\n'.join(parts) + '\n'


def main() -> None:
    args = parse_args()
    out = Path(args.out)
    cells = [
        (group, scheme, recipe, seed)
        for seed in args.seeds
        for group in args.groups or GROUPS
        for scheme in args.schemes
        for recipe in RECIPES[scheme]
        if not args.recipes or recipe in args.recipes
    ]
    for number, (group, scheme, recipe, seed) in enumerate([] if args.table else cells, 1):
        print(f'{number}/{len(cells)} {group} {scheme} {recipe} seed {seed}', flush=True)
        cfg = cell_config(GROUPS[group], scheme, recipe, seed, args)
        cfg.train_cfg.val_float = not float_metrics(out / group)
        run_cell(out / group / scheme / recipe / str(seed), cfg)
    text = report(out)
    with complete_file(out / 'tables.md') as temporary:
        temporary.write_text(text)
    tables = {g: {s: table_rows(out, g, s) for s in RECIPES} for g in GROUPS}
    write_json(tables, out / 'tables.json')
    print(text)


if __name__ == '__main__':
    main()
