"""Try every kind of detector of mmdet and mmdet3d, and write docs/support.md.

python tools/dev/support_matrix.py                                  # what has no result yet
python tools/dev/support_matrix.py --only retinanet ssd --again     # folders or names of configs
python tools/dev/support_matrix.py --folders                        # list them

One config of every folder is built with random weights, narrowed, quantized on two made-up samples,
tested, saved, loaded and exported. Each runs in a process of its own, so that a crash is one row.
"""

import argparse
import json
import logging
import multiprocessing
import subprocess
import sys
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from support_configs import Case, detector_config, find_cases, signature
from support_page import fill_page, state
from support_steps import OPTIONAL_STEPS, STEPS, Record, run_case

from mmptq.utils.cli import tool_parser
from mmptq.utils.files import complete_file, write_json

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/support.md'
TIMEOUT = 600  # seconds for one config


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('--only', nargs='+', metavar='NAME', help='folders, or names of configs')
    parser.add_argument('--folders', action='store_true', help='list folders and their configs')
    parser.add_argument('--again', action='store_true', help='also what has a result already')
    parser.add_argument('--failed', action='store_true', help='again what was not tested')
    parser.add_argument(
        '--results',
        default='work_dirs/support_matrix',
        help='folder of results (default: %(default)s)',
    )
    parser.add_argument(
        '--page', default=PAGE, type=Path, help='page to fill in (default: docs/support.md)'
    )
    parser.add_argument('--no-page', action='store_true', help='write no page')
    parser.add_argument('--timeout', type=int, default=TIMEOUT, help='seconds for one config')
    args = parser.parse_args()
    if args.timeout < 1:
        parser.error(f'--timeout {args.timeout}: use a number ≥ 1')
    return args


def choose(cases: list[Case], only: list[str] | None) -> list[Case]:
    """The cases that ``--only`` names."""
    if only is None:
        return cases
    names = {name for case in cases for name in (case.folder, case.name, case.key)}
    for name in only:
        if name not in names:
            raise ValueError(f"--only '{name}' is no folder or config: --folders lists them")
    return [case for case in cases if {case.folder, case.name, case.key} & set(only)]


def result_file(results: Path, case: Case) -> Path:
    """Where the row of a case is kept."""
    return results / f'{case.key.replace("/", "--")}.json'


def read_row(results: Path, case: Case) -> dict[str, Any] | None:
    """The row of an earlier run; None where there is none, or it was cut off."""
    path = result_file(results, case)
    row = json.loads(path.read_text()) if path.is_file() else None
    return row if row is not None and is_complete(row) else None


def is_complete(row: dict[str, Any]) -> bool:
    """Whether a config came to its end, or to a step that those after it need."""
    name, entry = list(row['steps'].items())[-1]
    if name == STEPS[-1]:
        return entry['state'] != 'running'
    return name not in OPTIONAL_STEPS and entry['state'] not in ('ok', 'running')


def open_steps(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The step that began and did not end."""
    return [entry for entry in row['steps'].values() if entry['state'] == 'running']


def run_apart(case: Case, results: Path, timeout: int) -> dict[str, Any]:
    """Run a case in a process of its own; whatever happens to it becomes its row."""
    path = result_file(results, case)
    path.unlink(missing_ok=True)
    process = multiprocessing.get_context('fork').Process(target=_child, args=(case, path))
    process.start()
    process.join(timeout)
    reason = f'the process ended with code {process.exitcode}'
    if process.is_alive():
        process.kill()
        process.join()
        reason = f'not ready after {timeout} seconds'
    row = Record(case, lambda _: None).row
    if path.is_file():
        row = json.loads(path.read_text())
    else:
        row['steps']['build'] = dict(state='running')
    for entry in open_steps(row):
        entry.update(state='error', text=reason)
    row['facts']['commit'] = commit()
    write_json(row, path)
    return row


@lru_cache
def commit() -> str:
    """Short hash of the code that runs; empty outside of a git checkout."""
    command = ['git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD']
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def same_network(case: Case, rows: list[dict[str, Any]], results: Path) -> dict[str, Any] | None:
    """The row of a case whose network another one has already, with that one's results."""
    try:
        mark = signature(detector_config(case.read()))
    except Exception:  # its own process says what is wrong
        return None
    marks = {row['facts'].get('signature'): row for row in rows if 'same_as' not in row['facts']}
    if mark not in marks:
        return None
    row = json.loads(json.dumps(marks[mark]))
    row.update(key=case.key, package=case.package, folder=case.folder)
    row['facts']['same_as'] = marks[mark]['key']
    for entry in row['steps'].values():
        entry['seconds'] = 0.0
    write_json(row, result_file(results, case))
    return row


def _child(case: Case, path: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    MMLogger.get_instance('support', log_level='ERROR')
    with tempfile.TemporaryDirectory() as folder:
        # Progress bars and prints of others.
        sys.stdout = sys.stderr = open(Path(folder, 'output'), 'w')  # noqa: SIM115
        run_case(case, lambda row: write_json(row, path), Path(folder))


def line_of(row: dict[str, Any]) -> str:
    """What happened to a config, for the terminal."""
    seconds = sum(entry.get('seconds', 0) for entry in row['steps'].values())
    said = [f'{name} {state(row, name)}' for name in STEPS if state(row, name) not in ('', 'ok')]
    text = '; '.join(f'{name}: {row["steps"][name.split()[0]]["text"][:150]}' for name in said)
    if 'same_as' in row['facts']:
        return f'{row["key"]}: the network of {row["facts"]["same_as"]}'
    return f'{row["key"]} ({seconds:.0f} s) {text or "all steps succeeded"}'


def run(args: argparse.Namespace) -> None:
    cases = find_cases()
    chosen = choose(cases, args.only)
    if args.folders:
        print('\n'.join(case.key for case in chosen))
        return
    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        row = read_row(results, case)
        if row is None or args.again or (args.failed and state(row, 'test') != 'ok'):
            known = [read_row(results, other) for other in cases if other is not case]
            row = same_network(case, [row for row in known if row is not None], results)
            print(line_of(row or run_apart(case, results, args.timeout)), flush=True)
    if not args.no_page:
        found = {case.key: read_row(results, case) for case in cases}
        rows = [row for row in found.values() if row is not None]
        rows.sort(key=lambda row: (row['package'], row['folder'], row['key']))
        untried = [key for key, row in found.items() if row is None]
        text = fill_page(args.page.read_text(), rows, untried)
        with complete_file(args.page) as temporary:
            temporary.write_text(text)
        print(f'{args.page}: {len(rows)} configs')


def main() -> None:
    try:
        run(parse_args())
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; start it again to go on')


if __name__ == '__main__':
    main()
