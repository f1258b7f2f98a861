"""Accuracy and time of PTQ recipes over seeds, as a table.

    python tools/benchmarks/benchmark_reconstruction.py    # demo RetinaNet-R18, eight recipes
    TOOL=tools/benchmarks/benchmark_reconstruction.py
    python $TOOL FLOAT_CONFIG --checkpoint FILE.pth --scheme w4a8
    python $TOOL --quick             the cheap recipes, a few images
    python $TOOL --search-time 4     DetPTQ's search, fast and naive

Every cell (recipe, seed) is one run of tools/ptq.py in its own folder below --out. Cells that are
finished are not run again, so an interrupted benchmark goes on where it was.
detptq_brecq_distill takes over the search of a finished detptq cell of the same seed; its seconds
are those of the rest then. Recipes that distill take more samples.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, pstdev

import torch
from benchmark_ptq import make_context
from run_tool import ToolError, run_tool

from mmptq.engine.ptq_config import make_ptq_config
from mmptq.ptq import LpSelector, build_stages
from mmptq.ptq.run import calibrate_model, convert_model
from mmptq.ptq.stages.lp_selector import restore
from mmptq.quantization import FakeQuantizer, QuantMixin
from mmptq.report import format_table, main_metric, metric_label, read_record
from mmptq.utils.cli import base_config, read_config, tool_parser
from mmptq.utils.files import complete_file, write_json

CONFIG = 'configs/demo/retinanet_r18_fpn_demo-coco.py'
CHECKPOINT = 'configs/demo/checkpoints/retinanet_r18_fpn_demo-coco.pth'
RECIPES = ['minmax', 'mse', 'lp24', 'detptq', 'adaround', 'brecq', 'qdrop']
RECIPES += ['detptq_brecq_distill']  # takes over what detptq chose
QUICK = dict(recipes=['minmax', 'mse', 'lp24', 'detptq'], seeds=1, num_samples=8, val_images=40)


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', nargs='?', default=CONFIG, help='a float config')
    parser.add_argument('--checkpoint', help='float checkpoint (default: load_from)')
    parser.add_argument('--scheme', default='w4a4', help='a name of configs/_base_/schemes')
    parser.add_argument('--recipes', nargs='+', default=RECIPES)
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds')
    parser.add_argument('--num-samples', type=int, default=32, help='calibration samples')
    parser.add_argument(
        '--distill-samples', type=int, default=1024, help='calibration samples of distillation'
    )
    parser.add_argument('--num-iters', type=int, help='at most so many steps per learned unit')
    parser.add_argument('--distill-iters', type=int, help='at most so many steps of distillation')
    parser.add_argument('--val-images', type=int, help='the first so many (default: all)')
    parser.add_argument('--out', default='work_dirs/benchmark_reconstruction')
    parser.add_argument('--float', nargs='+', default=[], help='layers that stay float, for all')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='more of them, for all runs')
    parser.add_argument('--quick', action='store_true', help='few recipes and images, one seed')
    parser.add_argument(
        '--search-time',
        type=int,
        metavar='LAYERS',
        help='time the search on so many layers (at most all), fast and naive',
    )
    args = parser.parse_args()
    for name, value in QUICK.items() if args.quick else ():
        setattr(args, name, value)
    if args.config == CONFIG and not args.checkpoint:
        args.checkpoint = CHECKPOINT
    return args


def subset_options(args: argparse.Namespace) -> list[str]:
    """Config options that evaluate on the first images of a COCO annotation file only."""
    if not args.val_images:
        return []
    dataset = read_config(args.config).val_dataloader.dataset
    annotations = json.loads((Path(dataset.get('data_root', '')) / dataset.ann_file).read_text())
    annotations['images'] = annotations['images'][: args.val_images]
    kept = {image['id'] for image in annotations['images']}
    annotations['annotations'] = [
        item for item in annotations['annotations'] if item['image_id'] in kept
    ]
    path = (Path(args.out) / f'val_{args.val_images}.json').resolve()
    write_json(annotations, path)
    return [f'val_dataloader.dataset.ann_file={path}', f'val_evaluator.ann_file={path}']


def step_options(stages: list[dict], args: argparse.Namespace) -> list[str]:
    """Config options that shorten the learning stages of a recipe."""
    limits = dict(Reconstructor=args.num_iters, Distillation=args.distill_iters)
    options = []
    for index, stage in enumerate(stages):
        limit = limits.get(stage.type)
        if limit and stage.num_iters > limit:
            options.append(f'stages.{index}.num_iters={limit}')
    return options


def selection_options(recipe: str, folder: Path) -> list[str]:
    """Config options that take over the search of a finished ``detptq`` cell beside a folder."""
    if not recipe.startswith('detptq_'):
        return []
    done = folder.with_name(folder.name.replace(recipe, 'detptq')) / 'lp_selection.json'
    return [f'stages.1.selection={done}'] if done.is_file() else []


def cell_options(args: argparse.Namespace, recipe: str, seed: int, folder: Path) -> list[str]:
    """Config options of one run of tools/ptq.py in a folder."""
    stages = base_config('recipe', recipe).stages
    distills = any(stage.type == 'Distillation' for stage in stages)
    num_samples = args.distill_samples if distills else args.num_samples
    options = [f'calibration.num_samples={num_samples}', f'randomness.seed={seed}']
    options += [*subset_options(args), *step_options(stages, args)]
    return [*options, *selection_options(recipe, folder), *args.cfg_options]


def run_cell(args: argparse.Namespace, recipe: str, seed: int, val_float: bool) -> dict:
    """Result of one run of tools/ptq.py; taken from its folder if it is finished."""
    folder = Path(args.out) / f'{Path(args.config).stem}_{args.scheme}_{recipe}_seed{seed}'
    done = folder / 'cell.json'
    if done.is_file():
        return json.loads(done.read_text())
    checkpoint = [args.checkpoint] if args.checkpoint else []
    print(f'{recipe}, seed {seed} ...', flush=True)
    try:
        options = [f'train_cfg.val_float={val_float}', *cell_options(args, recipe, seed, folder)]
        rules = ['--float', *args.float] if args.float else []
        run_tool(
            *('ptq', args.config, *checkpoint, '--scheme', args.scheme, '--recipe', recipe),
            *('--work-dir', folder, *rules, '--cfg-options', *options),
        )
    except (ToolError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
    result = read_record(folder, 'result')
    write_json(result, done)
    return result


def float_metrics(results: dict[str, list[dict]]) -> dict[str, float]:
    """Metrics of the float model, from a cell that evaluated it; empty if none did."""
    cells = [cell for cells in results.values() for cell in cells]
    return next((cell['float'] for cell in cells if cell['float']), {})


def table_rows(results: dict[str, list[dict]]) -> list[dict[str, str]]:
    """One row per recipe: mean and standard deviation over seeds, and what is lost."""
    first = next(iter(results.values()))[0]
    metric = main_metric(first['quantized'])
    shown = metric_label(metric)
    reference = float_metrics(results)[metric]
    rows = [
        {'recipe': 'float', shown: f'{reference:.4f}', 'difference': '', 'seconds': '', 'seeds': ''}
    ]
    for recipe, cells in results.items():
        values = [cell['quantized'][metric] for cell in cells]
        rows.append(
            {
                'recipe': recipe,
                shown: f'{mean(values):.4f} ± {pstdev(values):.4f}',
                'difference': f'{mean(values) - reference:+.4f}',
                'seconds': f'{mean(cell["seconds"] for cell in cells):.0f}',
                'seeds': str(len(cells)),
            }
        )
    return rows


def run_table(args: argparse.Namespace) -> None:
    """Run all cells; the table is written anew after each of them."""
    results: dict[str, list[dict]] = {}
    text = 'no cell has metrics of the float model: remove one cell.json below --out'
    about = (
        f'{Path(args.config).stem}, {args.scheme}, {args.num_samples} calibration samples '
        f'({args.distill_samples} to distill), '
        f'{f"at most {args.num_iters} steps per unit, " if args.num_iters else ""}'
        f'{f"at most {args.distill_iters} of distillation, " if args.distill_iters else ""}'
        f'{args.val_images or "all"} validation images, {platform.machine()}, '
        f'{torch.get_num_threads()} threads, torch {torch.__version__}'
    )
    for seed in range(args.seeds):
        for recipe in args.recipes:
            cell = run_cell(args, recipe, seed, val_float=not float_metrics(results))
            results.setdefault(recipe, []).append(cell)
            if not float_metrics(results):
                continue  # a finished cell of a run with other recipes; the next one evaluates it
            text = f'{about}\n\n{format_table(table_rows(results))}\n'
            write_json(dict(about=about, cells=results), Path(args.out) / 'table.json')
            with complete_file(Path(args.out) / 'table.md') as path:
                path.write_text(text)
    print(text)


class TimedStore:
    """Stands in for a resume store: knows some layers and times the search for the others."""

    def __init__(self, known: dict[str, dict], replace: Callable[[str], None] = lambda name: None):
        self.known = known
        self.replace = replace
        self.found: dict[str, dict] = {}
        self.seconds: dict[str, float] = {}
        self.start = 0.0

    def load(self, name: str) -> dict | None:
        self.start = time.process_time()
        return self.known.get(name)

    def save(self, name: str, state: dict) -> None:
        self.seconds[name] = time.process_time() - self.start
        self.found[name] = state
        self.replace(name)


def search(args: argparse.Namespace, choice: dict[str, dict] | None = None) -> TimedStore:
    """Search some layers, the others are quantized with p = 2.

    Args:
        args (argparse.Namespace): Of the command line.
        choice (dict, optional): What the fast search found; the naive one is run then, and each
            layer gets this choice afterwards, so that both search behind the same layers.
    """
    cfg = read_config(args.config)
    cfg.load_from = args.checkpoint or cfg.get('load_from')
    make_ptq_config(cfg)
    cfg.quantizer = base_config('scheme', args.scheme).quantizer
    cfg.stages = base_config('recipe', 'detptq').stages
    cfg.setdefault('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.0)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'config.py'
        cfg.dump(path)
        ctx = make_context(str(path), args.num_samples)
        convert_model(ctx)
        calibrate_model(ctx, build_stages(cfg.stages))
        layers = [plan.name for plan in ctx.plan.layers if plan.name in ctx.layers]
        # From the middle of as many equal parts of the network.
        count = min(args.search_time, len(layers))
        chosen = {layers[(2 * i + 1) * len(layers) // (2 * count)] for i in range(count)}
        ctx.resume = TimedStore(
            {name: calibrated(ctx.layers[name].module) for name in layers if name not in chosen},
            lambda name: choice and restore(ctx.layers[name], choice[name]),
        )
        LpSelector(num_samples=args.num_samples, fast=choice is None).run(ctx)
    return ctx.resume


def calibrated(layer: QuantMixin) -> dict[str, dict]:
    """The scales of a layer as if the search had found them."""
    slots = dict(weight=layer.weight_quantizer, input=layer.input_quantizer)
    return {
        name: dict(p=2.0, scale=slot.scale.tolist(), zero_point=slot.zero_point.tolist())
        for name, slot in slots.items()
        if isinstance(slot, FakeQuantizer)
    }


def run_search_time(args: argparse.Namespace) -> None:
    """CPU time of DetPTQ's search on some layers, fast and naive, and whether they agree."""
    fast = search(args)
    naive = search(args, fast.found)
    agree = [
        naive.found[name][tensor]['p'] == entry['p']
        for name, found in fast.found.items()
        for tensor, entry in found.items()
    ]
    result = dict(
        num_samples=args.num_samples,
        layers=list(fast.found),
        fast_seconds=sum(fast.seconds.values()),
        naive_seconds=sum(naive.seconds.values()),
        ratio=sum(fast.seconds.values()) / sum(naive.seconds.values()),
        tensors=len(agree),
        same_p=sum(agree),
        seconds=dict(fast=fast.seconds, naive=naive.seconds),
        found=dict(fast=fast.found, naive=naive.found),
    )
    write_json(result, Path(args.out) / 'search_time.json')
    print(json.dumps({key: value for key, value in result.items() if key != 'found'}, indent=1))


def main() -> None:
    args = parse_args()
    if args.search_time:
        run_search_time(args)
    else:
        run_table(args)


if __name__ == '__main__':
    main()
