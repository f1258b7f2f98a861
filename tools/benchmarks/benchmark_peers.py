"""This project's integer files beside those of NNCF and onnxruntime.quantization: metric and time.

python tools/benchmarks/benchmark_peers.py CONFIG [CHECKPOINT] [--num-samples 64] [--rounds 20] \
    [--size 800 1344] [--backends openvino] [--peers nncf nncf-mixed] [--cfg-options ptq=None]

All quantize the same float network with the same calibration samples: this project with the scheme
and recipe of the config, or with its defaults where the config has none. Every file is scored by
the stock test loop and all are timed in one interleaved run; --rounds 0 leaves the times out. Files
and scores that lie in the work directory are not made again. Needs `pip install nncf` besides the
package's own extra `deploy`.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from benchmark import measure, processor, table
from mmengine.config import Config
from peers import PEERS, peer_file
from run_tool import run_tool

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.deploy import export_float, open_engine
from mmptq.deploy.inputs import collect_inputs
from mmptq.engine.build import load_model
from mmptq.quantization import QuantizationError
from mmptq.report import format_table, main_metric
from mmptq.utils.cli import base_config, read_config, tool_parser
from mmptq.utils.files import write_json

ENGINES = ('onnxruntime', 'openvino')
BACKENDS = ('onnxruntime', 'onnxruntime_full', 'openvino')


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='a float config, or a leaf config of an INT8 recipe')
    parser.add_argument('checkpoint', nargs='?', help="float weights; default: the config's own")
    parser.add_argument('--num-samples', type=int, default=64, help='calibration samples')
    parser.add_argument('--rounds', type=int, default=20, help='timed runs of each file')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument(
        '--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help='input size of the timing'
    )
    parser.add_argument('--backends', nargs='*', choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument('--peers', nargs='*', choices=list(PEERS), default=list(PEERS))
    parser.add_argument('--cfg-options', nargs='*', default=[], help='for tools/ptq.py')
    parser.add_argument(
        '--export-options', nargs='*', default=[], help='OPTION=VALUE, see export.py'
    )
    parser.add_argument('--work-dir', help='default: work_dirs/benchmark_peers/CONFIG_NAME')
    return parser.parse_args()


def float_file(cfg: Config, num_samples: int, folder: Path) -> tuple[Path, list[np.ndarray]]:
    """The exported float network, and what enters it on calibration samples."""
    detector = load_model(cfg, cfg.load_from, quantized=False)
    inputs = collect_inputs(cfg, detector, num_samples)
    path = folder / 'float.onnx'
    export_float(detector, inputs[:2], path)
    return path, [x.numpy() for x in inputs]


def own_file(args: argparse.Namespace, backend: str, folder: Path) -> Path:
    """The file of this project for a backend."""
    own = folder / backend
    out = own / f'{backend}.onnx'
    if out.is_file():
        return out
    given = [args.config, *([args.checkpoint] if args.checkpoint else [])]
    options = [f'calibration.num_samples={args.num_samples}', 'train_cfg.val_float=False']
    options += args.cfg_options
    run_tool('ptq', *given, '--backend', backend, '--work-dir', own, '--cfg-options', *options)
    more = [f'--{option}' for option in args.export_options]
    run_tool(
        *('export', args.config, own / 'quantized.pth', '--backend', backend, *more),
        *('--out', out, '--num-samples', min(16, args.num_samples)),
    )
    return out


def make_files(
    args: argparse.Namespace, source: Path, inputs: list[np.ndarray], folder: Path
) -> dict[str, tuple[Path, str]]:
    """File and engine by the name in the table, the float files first."""
    files = {f'float, {engine}': (source, engine) for engine in ENGINES}
    for backend in args.backends:
        engine = base_config('backend', backend).backend.export.engine
        files[f'mmptq {backend}, {engine}'] = (own_file(args, backend, folder), engine)
    for peer in args.peers:
        engine, quantize = PEERS[peer]
        out = peer_file(folder, peer)
        print(peer, flush=True)
        if not out.is_file():
            quantize(source, inputs, out)
        files[f'{peer}, {engine}'] = (out, engine)
    used = {engine for label, (_, engine) in files.items() if not label.startswith('float')}
    return {label: pair for label, pair in files.items() if pair[1] in used}


def score(args: argparse.Namespace, cfg: Config, file: Path, engine: str, out: Path) -> dict:
    """Metrics of a file from the stock test loop."""
    if out.is_file():
        return json.loads(out.read_text())
    run_tool(
        *('test', args.config, file, '--engine', engine, '--out', out),
        *('--layers-before', cfg.load_from),
    )
    return json.loads(out.read_text())


def table_rows(
    pairs: dict[str, tuple[str, str]],
    metrics: dict[str, dict[str, float]],
    times: dict[tuple[str, str], dict],
) -> list[dict[str, str]]:
    """One row per file: its metric, the layers that run in integers, and its time.

    Args:
        pairs (dict): File and engine by the name in the table.
        metrics (dict): All metrics by the name in the table.
        times (dict): Rows of ``benchmark.table`` by file and engine.
    """
    shown = main_metric(next(iter(metrics.values())))
    columns = ('integer layers', 'float layers', 'median ms', 'ratio')
    return [
        {'file': label, shown: f'{metrics[label][shown]:.4f}'}
        | ({key: str(times[pair][key]) for key in columns} if times else {})
        for label, pair in pairs.items()
    ]


def run(args: argparse.Namespace) -> None:
    cfg = read_config(args.config)
    cfg.load_from = args.checkpoint or cfg.get('load_from')
    if not cfg.load_from:
        raise QuantizationError('there is no float checkpoint: give one after the config')
    name = Path(args.config).stem
    folder = Path(args.work_dir or f'work_dirs/benchmark_peers/{name}')
    cfg.work_dir = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source, inputs = float_file(cfg, args.num_samples, folder)
    files = make_files(args, source, inputs, folder)
    metrics = {
        label: score(args, cfg, file, engine, folder / f'{file.stem}-{engine}.json')
        for label, (file, engine) in files.items()
    }
    pairs = {label: (str(file), engine) for label, (file, engine) in files.items()}
    times = {}
    print(f'{name}, {args.num_samples} calibration samples')
    if args.rounds:
        size = tuple(args.size or inputs[0].shape[2:])
        engines = {x: open_engine(x[1], x[0], args.threads, size) for x in pairs.values()}
        shape = next(iter(engines.values())).input_shape
        x = np.random.default_rng(0).random(shape, dtype=np.float32)
        times = dict(zip(engines, table(engines, measure(engines, x, args.rounds)), strict=True))
        print(f'times: {shape}, {args.threads} threads, {args.rounds} rounds, {processor()}')
    rows = table_rows(pairs, metrics, times)
    print(format_table(rows))
    write_json(dict(rows=rows, metrics=metrics), folder / 'table.json')


def main() -> None:
    try:
        with torch.no_grad():
            run(parse_args())
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
