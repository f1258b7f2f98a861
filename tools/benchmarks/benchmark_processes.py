"""Times of PTQ in two processes against one, one thread each.

    python tools/benchmarks/benchmark_processes.py       # demo RetinaNet-R18, on an idle machine
    python tools/benchmarks/benchmark_processes.py --num-samples 4 --num-iters 2 --candidates 4

The two runs follow each other. Times are those of the slowest process, without starting up.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.ptq_config import make_ptq_config
from mmptq.engine.run_context import context_of
from mmptq.ptq import LpSelector, PTQContext, Reconstructor, parallel
from mmptq.ptq.launch import connected
from mmptq.ptq.run import convert_model
from mmptq.ptq.stages.recipe import build_stages
from mmptq.quantization import QuantizationError
from mmptq.report import format_table
from mmptq.utils.cli import base_config, read_config, tool_parser
from mmptq.utils.files import write_json

CONFIG = 'configs/demo/retinanet_r18_fpn_demo-coco.py'
CHECKPOINT = 'configs/demo/checkpoints/retinanet_r18_fpn_demo-coco.pth'
TARGETS = dict(calibration=1.7, reconstruction=1.6, search=1.7)


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', nargs='?', default=CONFIG, help='a float config')
    parser.add_argument('--checkpoint', default=CHECKPOINT, help='float checkpoint')
    parser.add_argument('--scheme', default='int8', help='a name of configs/_base_/schemes')
    parser.add_argument('--num-samples', type=int, default=32, help='calibration samples')
    parser.add_argument('--num-iters', type=int, default=50, help='steps per learned unit')
    parser.add_argument('--candidates', type=int, default=80, help='ranges tried for a weight')
    parser.add_argument('--out', default='work_dirs/benchmark_processes')
    parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args()


def float_context(args: argparse.Namespace) -> PTQContext:
    """The float model and its calibration data, converted."""
    cfg = read_config(args.config)
    cfg.load_from = args.checkpoint
    make_ptq_config(cfg)
    cfg.quantizer = base_config('scheme', args.scheme).quantizer
    cfg.stages = base_config('recipe', 'mse').stages
    ctx = context_of(cfg, args.num_samples)
    convert_model(ctx)
    return ctx


def seconds_of(stage, ctx: PTQContext) -> float:
    """Time from the start of all processes to the end of the last one."""
    parallel.barrier()
    start = time.perf_counter()
    stage.run(ctx)
    parallel.barrier()
    return time.perf_counter() - start


def measure(args: argparse.Namespace) -> None:
    """Times of this many processes, written by the main one."""
    torch.set_num_threads(1)
    with connected(dict(launcher='pytorch')):
        ctx = float_context(args)
        (calibrator,) = build_stages(base_config('recipe', 'mse').stages)
        search = LpSelector(num_samples=args.num_samples, num_candidates=args.candidates)
        # The search comes last: it changes scales, which the other two would see.
        stages = dict(
            calibration=calibrator,
            reconstruction=Reconstructor(num_iters=args.num_iters, batch_size=2),
            search=search,
        )
        found = {name: seconds_of(stage, ctx) for name, stage in stages.items()}
        if parallel.is_main():
            write_json(found, args.out)


def run_processes(count: int, args: argparse.Namespace) -> dict[str, float]:
    """Times of ``count`` processes of this file.

    Raises:
        QuantizationError: If they fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'seconds.json'
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
        command += [f'--nproc_per_node={count}', __file__, args.config, '--worker']
        for name in ('checkpoint', 'scheme', 'num_samples', 'num_iters', 'candidates'):
            command += [f'--{name.replace("_", "-")}', str(getattr(args, name))]
        environment = dict(os.environ, OMP_NUM_THREADS='1')
        command += ['--out', str(out)]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True)
        if finished.returncode:
            raise QuantizationError(f'{count} processes failed:\n{finished.stderr[-2000:]}')
        return json.loads(out.read_text())


def main() -> None:
    args = parse_args()
    try:
        if args.worker:
            measure(args)
            return
        one, two = (run_processes(count, args) for count in (1, 2))
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')
    rows = [
        dict(
            what=name,
            one=round(one[name], 2),
            two=round(two[name], 2),
            ratio=round(one[name] / two[name], 2),
            target=target,
        )
        for name, target in TARGETS.items()
    ]
    write_json(rows, Path(args.out) / 'processes.json')
    print(format_table(rows))


if __name__ == '__main__':
    main()
