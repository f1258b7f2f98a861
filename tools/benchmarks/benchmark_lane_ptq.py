"""F1 of the demo lane models, float and quantized: a table of recipes by families and bits.

    python tools/benchmarks/benchmark_lane_ptq.py --schemes int8 w4a4 --recipes minmax mse
    python tools/benchmarks/benchmark_lane_ptq.py --models scnn_r18 --recipes qdrop \\
        [--num-samples 32] [--out FILE.json] [--bits NAME=8] [--cfg-options stages.1.num_iters=100]
    OMP_NUM_THREADS=1 python tools/benchmarks/benchmark_lane_ptq.py --schemes w4a4 \\
        --recipes mse selective_focus --seeds 0 1 2 --num-samples 32

A cell is a model of configs/demo, a scheme, a recipe and a seed; it runs through tools/ptq.py on
the whole validation set. The table has means over the seeds with half of their range, and the mean
time of everything between the float and the quantized evaluation.
Finished cells are kept in the JSON file and run again only when a config, the
checkpoint or the options changed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from run_tool import ToolError, run_tool

from mmptq.report import find_record, format_table
from mmptq.utils.cli import base_config, read_config, require_file, tool_parser
from mmptq.utils.files import write_json

DEMO = Path(__file__).resolve().parents[2] / 'configs/demo'
ENDING = '_demo-lane'
MODELS = sorted(path.stem.removesuffix(ENDING) for path in DEMO.glob(f'*{ENDING}.py'))
METRIC = 'culane/F1'


@dataclass(frozen=True)
class Cell:
    """What one run of tools/ptq.py quantizes, and how."""

    model: str
    recipe: str
    scheme: str
    seed: int = 0

    @property
    def name(self) -> str:
        """In the results; that of the first seed is the name that a leaf config would have."""
        name = f'{self.model}_{self.recipe}_{self.scheme}{ENDING}'
        return f'{name}_seed{self.seed}' if self.seed else name

    @property
    def files(self) -> tuple[str, str]:
        """Float config and checkpoint."""
        stem = f'{self.model}{ENDING}'
        return str(DEMO / f'{stem}.py'), str(DEMO / f'checkpoints/{stem}.pth')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--models', nargs='+', default=MODELS, choices=MODELS)
    parser.add_argument('--recipes', nargs='+', default=['minmax', 'mse'])
    parser.add_argument('--schemes', nargs='+', default=['int8', 'w4a4'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--num-samples', type=int, default=256, help='calibration images')
    parser.add_argument('--bits', nargs='+', default=[], help='as in tools/ptq.py, for all cells')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='overrides of all cells: key=value ...'
    )
    parser.add_argument('--out', default='work_dirs/benchmark_lane_ptq.json')
    parser.add_argument('--table', action='store_true', help='only print the cells that are done')
    return parser.parse_args()


def arguments_of(args: argparse.Namespace) -> list[str]:
    """Arguments of tools/ptq.py that all cells share."""
    bits = ['--bits', *args.bits] if args.bits else []
    return [
        *bits,
        '--cfg-options',
        f'calibration.num_samples={args.num_samples}',
        *args.cfg_options,
    ]


def fingerprint(cell: Cell, arguments: list[str]) -> str:
    """What the result of a cell depends on: all settings, weights and data."""
    path, checkpoint = cell.files
    require_file(checkpoint, 'checkpoint')
    config = read_config(path)
    parts = (config, base_config('scheme', cell.scheme), base_config('recipe', cell.recipe))
    digest = hashlib.sha256(''.join(part.pretty_text for part in parts).encode())
    digest.update(Path(checkpoint).read_bytes())
    manifest = Path(config.val_dataloader.dataset.data_root) / 'manifest.json'
    digest.update(manifest.read_bytes() if manifest.is_file() else b'')
    digest.update(' '.join(arguments).encode())
    return digest.hexdigest()[:16]


def run_cell(cell: Cell, arguments: list[str]) -> dict:
    """F1 before and after, by category too, and the time of one cell."""
    names = ('--scheme', cell.scheme, '--recipe', cell.recipe)
    with tempfile.TemporaryDirectory() as work_dir:
        try:
            seed = [f'randomness.seed={cell.seed}'] if cell.seed else []
            run_tool('ptq', *cell.files, *names, '--work-dir', work_dir, *arguments, *seed)
        except ToolError as error:
            return dict(error=error.last_line)
        result = find_record(work_dir, 'result')
        if result is None:
            return dict(error='no result')
    return {key: result[key] for key in ('float', 'quantized', 'seconds', 'num_samples')}


def read_results(path: str) -> dict[str, dict]:
    """Finished cells by name."""
    return json.loads(Path(path).read_text()) if Path(path).is_file() else {}


def run_cells(cells: list[Cell], arguments: list[str], out: str) -> dict[str, dict]:
    """Results of all cells by name; writes the file after each."""
    results = read_results(out)
    for cell in cells:
        key = fingerprint(cell, arguments)
        if results.get(cell.name, {}).get('key') == key and 'error' not in results[cell.name]:
            continue
        result = dict(key=key, **asdict(cell), **run_cell(cell, arguments))
        results = read_results(out) | {cell.name: result}  # another run may have added cells
        write_json(results, out)
        shown = result.get('error') or f'F1 {result["quantized"][METRIC]:.4f}'
        print(f'{cell.name}: {shown}', flush=True)
    return results


def table_rows(results: dict[str, dict]) -> list[dict]:
    """One row per model and scheme, one column per recipe: F1 and its difference to float."""
    recipes = sorted({cell['recipe'] for cell in results.values()})
    groups: dict[tuple[str, str, str], list[dict]] = {}
    for cell in results.values():
        groups.setdefault((cell['scheme'], cell['model'], cell['recipe']), []).append(cell)
    rows = {}
    for (scheme, model, recipe), cells in sorted(groups.items()):
        empty = dict(model=model, scheme=scheme, float=None)
        row = rows.setdefault((model, scheme), empty | dict.fromkeys(recipes))
        if any('error' in cell for cell in cells):
            row[recipe] = 'failed'
            continue
        row['float'] = cells[0]['float'][METRIC]
        row[recipe] = _result(row['float'], cells)
    return list(rows.values())


def _result(before: float, cells: list[dict]) -> str:
    """Mean F1 of the seeds, its difference to float, half of the range of several, seconds."""
    values = [cell['quantized'][METRIC] for cell in cells]
    mean, half = sum(values) / len(values), (max(values) - min(values)) / 2
    text = f'{mean:.4f}' + (f' ± {half:.4f}' if len(values) > 1 else '')
    seconds = [cell['seconds'] for cell in cells if 'seconds' in cell]
    time = f', {sum(seconds) / len(seconds):.0f} s' if seconds else ''
    return f'{text} ({mean - before:+.4f}{time})'


def main() -> None:
    args = parse_args()
    chosen = product(args.models, args.recipes, args.schemes, args.seeds)
    cells = [] if args.table else [Cell(*names) for names in chosen]
    try:
        results = run_cells(cells, arguments_of(args), args.out)
    except OSError as error:
        sys.exit(f'error: {error}')
    numbers = sorted({cell['num_samples'] for cell in results.values() if 'error' not in cell})
    print(
        f'\nCULane F1 on the demo validation set, {", ".join(map(str, numbers))} calibration '
        f'images, torch {torch.__version__}\n'
    )
    print(format_table(table_rows(results)))


if __name__ == '__main__':
    main()
