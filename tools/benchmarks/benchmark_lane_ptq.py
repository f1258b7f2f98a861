"""F1 of the demo lane models, float and quantized: a table of recipes by families and bits.

    python tools/benchmarks/benchmark_lane_ptq.py [LEAF ...] [--num-samples 256] [--out FILE.json]
        [--cfg-options stages.1.num_iters=100]

A cell is a leaf config, ``configs/RECIPE/MODEL_RECIPE_SCHEME_demo-lane.py``; without arguments, all
of them whose float checkpoint is there. Each runs through tools/ptq.py on the whole validation set.
Finished cells are kept in the JSON file and run again only when the leaf, its checkpoint or the
options changed.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from run_tool import ToolError, run_tool

from mmptq.report import find_record, format_table
from mmptq.utils.cli import tool_parser
from mmptq.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
METRIC = 'culane/F1'


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('leaves', nargs='*', help='leaf configs; default: all of the demo lanes')
    parser.add_argument('--num-samples', type=int, default=256, help='calibration images')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='overrides of all leaves: key=value ...'
    )
    parser.add_argument('--out', default='work_dirs/benchmark_lane_ptq.json')
    parser.add_argument('--table', action='store_true', help='only print the cells that are done')
    return parser.parse_args()


def find_leaves() -> list[str]:
    """Leaf configs of the demo lane models, by recipe."""
    folders = (path for path in (ROOT / 'configs').iterdir() if path.name not in ('_base_', 'demo'))
    return sorted(str(path) for folder in folders for path in folder.glob('*_demo-lane.py'))


def parts_of(leaf: str) -> dict[str, str]:
    """Model, recipe and scheme of a leaf, by its folder and name."""
    path = Path(leaf)
    recipe = path.parent.name
    match = re.fullmatch(f'(.+)_{re.escape(recipe)}_([^_]+)_demo-lane', path.stem)
    if match is None:
        sys.exit(f"error: '{leaf}' is not named {recipe}/MODEL_{recipe}_SCHEME_demo-lane.py")
    return dict(model=match[1], recipe=recipe, scheme=match[2])


def fingerprint(config: Config, num_samples: int, options: Sequence[str]) -> str:
    """What the result of a cell depends on: all settings, weights and data."""
    digest = hashlib.sha256(config.pretty_text.encode())
    digest.update(Path(config.load_from).read_bytes())
    manifest = Path(config.val_dataloader.dataset.data_root) / 'manifest.json'
    digest.update(manifest.read_bytes() if manifest.is_file() else b'')
    digest.update(' '.join([str(num_samples), *options]).encode())
    return digest.hexdigest()[:16]


def run_cell(leaf: str, num_samples: int, options: Sequence[str]) -> dict:
    """F1 before and after, by category too, and the time of one leaf."""
    with tempfile.TemporaryDirectory() as work_dir:
        options = ['--cfg-options', f'calibration.num_samples={num_samples}', *options]
        try:
            run_tool('ptq', leaf, '--work-dir', work_dir, *options)
        except ToolError as error:
            return dict(error=error.last_line)
        result = find_record(work_dir, 'result')
        if result is None:
            return dict(error='no result')
    return {key: result[key] for key in ('float', 'quantized', 'seconds', 'num_samples')}


def read_results(path: str) -> dict[str, dict]:
    """Finished cells by name."""
    return json.loads(Path(path).read_text()) if Path(path).is_file() else {}


def run_cells(
    leaves: list[str], num_samples: int, out: str, options: Sequence[str] = ()
) -> dict[str, dict]:
    """Results of all leaves by name; writes the file after each."""
    results = read_results(out)
    for leaf in leaves:
        name = Path(leaf).stem
        config = Config.fromfile(leaf)
        if not Path(config.load_from).is_file():
            print(f"{name}: passed over, there is no '{config.load_from}'", flush=True)
            continue
        key = fingerprint(config, num_samples, options)
        if results.get(name, {}).get('key') == key and 'error' not in results[name]:
            continue
        cell = dict(key=key, **parts_of(leaf), **run_cell(leaf, num_samples, options))
        results = read_results(out) | {name: cell}  # another run may have added cells meanwhile
        write_json(results, out)
        shown = results[name].get('error') or f'F1 {results[name]["quantized"][METRIC]:.4f}'
        print(f'{name}: {shown}', flush=True)
    return results


def table_rows(results: dict[str, dict]) -> list[dict]:
    """One row per model and scheme, one column per recipe: F1 and its difference to float."""
    recipes = sorted({cell['recipe'] for cell in results.values()})
    rows = {}
    for cell in sorted(results.values(), key=lambda cell: (cell['scheme'], cell['model'])):
        empty = dict(model=cell['model'], scheme=cell['scheme'], float=None)
        row = rows.setdefault((cell['model'], cell['scheme']), empty | dict.fromkeys(recipes))
        if 'error' in cell:
            row[cell['recipe']] = 'failed'
            continue
        before, after = cell['float'][METRIC], cell['quantized'][METRIC]
        row['float'] = before
        row[cell['recipe']] = f'{after:.4f} ({after - before:+.4f})'
    return list(rows.values())


def main() -> None:
    args = parse_args()
    leaves = [] if args.table else args.leaves or find_leaves()
    try:
        results = run_cells(leaves, args.num_samples, args.out, args.cfg_options)
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
