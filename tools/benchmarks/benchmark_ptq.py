"""Accuracy, cost and determinism of PTQ on the demo models, in one run.

    python tools/benchmarks/benchmark_ptq.py [CONFIG ...] [--num-samples 256] [--out FILE.json]

Per config: float and quantized metric on the whole validation set; the simulated forward against
the float forward (interleaved, median of pairs); calibration against as many float forwards, for
min-max and for MSE; peak memory of a process that calibrates against one that runs float forwards;
whether two runs give identical checkpoints.
"""

import copy
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from run_tool import run_tool

from mmptq.engine.checkpoint import read_checkpoint
from mmptq.engine.ptq_loop import CHECKPOINT_NAME
from mmptq.engine.run_context import context_of
from mmptq.ptq import Calibrator, PTQContext
from mmptq.ptq.run import convert_model
from mmptq.quantization import freeze
from mmptq.report import format_table, main_metric, metric_label, read_record
from mmptq.utils.cli import read_config, tool_parser
from mmptq.utils.files import write_json

CONFIGS = [
    'configs/mse/retinanet_r18_fpn_mse_int8_demo-coco.py',
    'configs/mse/centerpoint_pillar_mse_int8_demo-nus.py',
    'configs/mse/centerpoint_voxel_mse_int8_demo-nus.py',
]
FORWARD_PAIRS = 40


def make_context(config: str, num_samples: int) -> PTQContext:
    """The float model and calibration data of a PTQ config, planned but not quantized."""
    return context_of(read_config(config), num_samples)


def float_forwards(ctx: PTQContext) -> float:
    """Seconds of one pass of the float model over the calibration data."""
    start = time.perf_counter()
    for data in ctx.batches('float'):
        ctx.predict(data)
    return time.perf_counter() - start


def calibrate(ctx: PTQContext, observer: dict) -> float:
    """Seconds of one calibration."""
    start = time.perf_counter()
    Calibrator(weight_observer=observer, act_observer=observer).run(ctx)
    return time.perf_counter() - start


def forward_ratio(ctx: PTQContext, float_model: torch.nn.Module) -> float:
    """Median over pairs of simulated / float seconds of one forward."""
    ratios = []
    data = ctx.first_batch()
    for _ in range(FORWARD_PAIRS):
        seconds = []
        for model in (ctx.model, float_model):
            start = time.perf_counter()
            with torch.no_grad():
                model(**copy.deepcopy(data), mode='predict')
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return median(ratios)


def measure_times(config: str, num_samples: int) -> dict:
    """Ratios to the float forward, all in this process."""
    ctx = make_context(config, num_samples)
    float_model = copy.deepcopy(ctx.model)
    float_forwards(ctx)  # warm-up
    reference = float_forwards(ctx)
    convert_model(ctx)
    minmax = calibrate(ctx, dict(type='MinMaxObserver'))
    mse = calibrate(ctx, dict(type='LpObserver', p=2.0))
    freeze(ctx.model)
    return dict(
        forward=forward_ratio(ctx, float_model),
        minmax=minmax / reference,
        mse=mse / reference,
        float_seconds=reference,
    )


def measure_memory(config: str, num_samples: int, what: str) -> dict:
    """Peak memory of this process in MB after float forwards or a calibration."""
    ctx = make_context(config, num_samples)
    if what == 'float':
        float_forwards(ctx)
    else:
        convert_model(ctx)
        calibrate(ctx, dict(type='LpObserver', p=2.0))
    return dict(megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def in_own_process(*args: object) -> dict:
    """Result of a measurement (``--measure``) in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        command = [sys.executable, __file__, *map(str, args), '--out', str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(out.read_text())


def run_ptq(config: str, work_dir: str, num_samples: int, *options: str) -> dict:
    """Result of tools/ptq.py, which stays in ``work_dir``."""
    options = [f'calibration.num_samples={num_samples}', *options]
    run_tool('ptq', config, '--work-dir', work_dir, '--cfg-options', *options)
    return read_record(work_dir, 'result')


def identical(first: str, second: str) -> bool:
    """Whether the checkpoints of two work directories hold the same bits."""
    states = [read_checkpoint(Path(d) / CHECKPOINT_NAME)['state_dict'] for d in (first, second)]
    same_keys = states[0].keys() == states[1].keys()
    return same_keys and all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def benchmark(config: str, num_samples: int) -> dict:
    """All measurements of one config."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        result = run_ptq(config, first, num_samples)
        run_ptq(config, second, num_samples, 'train_cfg.val_float=False')
        result['identical'] = identical(first, second)
    result['ratios'] = in_own_process(config, '--num-samples', num_samples, '--measure', 'times')
    few = num_samples // 4
    float_peak, few_peak, all_peak = (
        in_own_process(config, '--num-samples', n, '--measure', what)['megabytes']
        for what, n in (('float', few), ('calibrate', few), ('calibrate', num_samples))
    )
    result['memory'] = dict(few=few_peak - float_peak, all=all_peak - float_peak)
    return result


def table_row(config: str, result: dict) -> dict:
    """One row of the table."""
    ratios, memory = result['ratios'], result['memory']
    metric = main_metric(result['quantized'])
    shown = metric_label(metric)
    before, after = result['float'][metric], result['quantized'][metric]
    return {
        'config': Path(config).stem,
        f'{shown} float': before,
        f'{shown} int8': after,
        'difference': after - before,
        'forward': f'{ratios["forward"]:.2f}x',
        'min-max': f'{ratios["minmax"]:.2f}x',
        'MSE': f'{ratios["mse"]:.2f}x',
        'MB above float (1/4, all samples)': f'{memory["few"]:.0f}, {memory["all"]:.0f}',
        'same bits twice': 'yes' if result['identical'] else 'NO',
    }


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('configs', nargs='*', default=CONFIGS)
    parser.add_argument('--num-samples', type=int, default=256)
    parser.add_argument('--out', help='JSON file for all numbers')
    parser.add_argument(
        '--measure',
        choices=['times', 'float', 'calibrate'],
        help='one measurement, in this process',
    )
    args = parser.parse_args()
    if args.measure is not None:
        config, n = args.configs[0], args.num_samples
        measured = (
            measure_times(config, n)
            if args.measure == 'times'
            else measure_memory(config, n, args.measure)
        )
        write_json(measured, args.out)
        return
    results = {}
    for config in args.configs:
        print(f'{config} ...', flush=True)
        results[config] = benchmark(config, args.num_samples)
        if args.out:
            write_json(results, args.out)
    print(
        f'\n{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, '
        f'{args.num_samples} calibration samples; times relative to the float forward\n'
    )
    print(format_table([table_row(config, result) for config, result in results.items()]))


if __name__ == '__main__':
    main()
