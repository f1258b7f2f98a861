"""Float, simulated and deployed metric side by side, each from the stock test loop.

python tools/benchmarks/benchmark_deployed.py LEAF_CONFIG ... [--backends onnxruntime openvino] \
    [--num-samples 16]

For each leaf config of an INT8 recipe and each backend: tools/ptq.py, tools/export.py, and
tools/test.py of the file in its engine. What a backend refuses stands under the table.
"""

import argparse
import json
import sys
from pathlib import Path

from run_tool import ToolError, run_tool

from mmptq.quantization import QuantizationError
from mmptq.report import format_table, main_metric, read_record
from mmptq.utils.cli import base_config, require_file, tool_parser
from mmptq.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='+', help='leaf configs; load_from names the model')
    parser.add_argument('--backends', nargs='+', default=['onnxruntime', 'openvino'])
    parser.add_argument('--num-samples', type=int, default=16, help='calibration samples')
    parser.add_argument('--threads', type=int, default=1, help='of the engines')
    parser.add_argument('--out', default='work_dirs/benchmark_deployed', help='folder')
    return parser.parse_args()


def run_cell(config: str, backend: str, val_float: bool, args: argparse.Namespace) -> dict:
    """Metrics of a model in the engine of a backend, or why the backend refuses it."""
    folder = Path(args.out) / f'{Path(config).stem}_{backend}'
    file, metrics = folder / 'deployed.onnx', folder / 'deployed.json'
    options = [f'calibration.num_samples={args.num_samples}', f'train_cfg.val_float={val_float}']
    print(Path(config).stem, backend, flush=True)
    run_tool(
        *('ptq', config, '--backend', backend, '--work-dir', folder),
        *('--cfg-options', *options),
    )
    result = read_record(folder, 'result')
    cell = {key: result[key] for key in ('float', 'quantized')}
    try:
        run_tool(
            *('export', config, folder / 'quantized.pth', '--backend', backend, '--out', file),
            *('--num-samples', args.num_samples),
        )
    except ToolError as error:
        return dict(cell, refused=error.last_line)
    run_tool('test', config, file, '--threads', args.threads, '--out', metrics)
    return dict(cell, deployed=json.loads(metrics.read_text()))


def table_rows(cells: dict[str, dict[str, dict]]) -> list[dict[str, str]]:
    """One row per model and backend: float, simulated, deployed, and the last two's difference.

    Args:
        cells (dict): From ``run_cell``, by config and then by backend.
    """
    rows = []
    for config, backends in cells.items():
        reference = next(cell['float'] for cell in backends.values() if cell['float'])
        metric = main_metric(reference)
        for backend, cell in backends.items():
            simulated = cell['quantized'][metric]
            row = dict(model=Path(config).stem, metric=metric.split('/')[-1], backend=backend)
            row.update(float=f'{reference[metric]:.4f}', simulated=f'{simulated:.4f}')
            row.update(deployed='refused', difference='')
            if 'deployed' in cell:
                deployed = cell['deployed'][metric]
                row.update(deployed=f'{deployed:.4f}', difference=f'{deployed - simulated:+.4f}')
            rows.append(row)
    return rows


def main() -> None:
    args = parse_args()
    cells: dict[str, dict[str, dict]] = {}
    try:
        for backend in args.backends:
            base_config('backend', backend)
        for config in args.configs:
            require_file(config, 'config')
        for config in args.configs:
            cells[config] = {}
            for backend in args.backends:
                first = not cells[config]
                cells[config][backend] = run_cell(config, backend, first, args)
                write_json(cells, Path(args.out) / 'cells.json')
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')
    rows = table_rows(cells)
    print(f'\n{args.num_samples} calibration samples, engines with {args.threads} threads\n')
    print(format_table(rows))
    for config, backends in cells.items():
        for backend, cell in backends.items():
            if 'refused' in cell:
                print(f'{Path(config).stem}, {backend}: {cell["refused"]}')


if __name__ == '__main__':
    main()
