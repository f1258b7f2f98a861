"""Sensitivity of layers: the metric with one layer or group quantized, or left float, at a time.

python tools/analysis/layer_sensitivity.py CONFIG CHECKPOINT --scheme w4a4 --recipe mse
python tools/analysis/layer_sensitivity.py PTQ_CONFIG [CHECKPOINT] [--groups 'backbone.*' 'neck.*']
    [--mode alone|except] [--part weight|input|both] [--num-images N] [--out FILE.json]

Plans and calibrates like tools/ptq.py, with the stages of the recipe up to the first that
calibrates. Then the validation images run through the network, with only this layer quantized
(--mode alone) or all layers but this one (--mode except); by default one row per quantized layer.
Only the table is saved.
"""

import argparse
import sys
from collections.abc import Set
from itertools import islice

from mmengine.runner import Runner
from torch import nn

from mmptq.engine.evaluate import evaluate_batches
from mmptq.engine.ptq_config import add_ptq_arguments, prepare_runner_config, ptq_config
from mmptq.ptq.run import calibrate_model, prepare_model
from mmptq.ptq.search.sensitivity import measure_sensitivity, only_quantized
from mmptq.quantization import QuantizationError, quantized_layers
from mmptq.report import format_table
from mmptq.utils.cli import build_runner, make_parser
from mmptq.utils.files import write_json
from mmptq.utils.globs import match

PARTS = dict(weight=('weight',), input=('input',), both=('weight', 'input'))


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', nargs='?', help='float checkpoint (default: load_from)')
    add_ptq_arguments(parser)
    parser.add_argument('--groups', nargs='+', help='globs over layer names, one row each')
    parser.add_argument('--mode', choices=['alone', 'except'], default='alone')
    parser.add_argument('--part', choices=list(PARTS), default='both')
    parser.add_argument('--num-images', type=int, help='first validation images; default: all')
    parser.add_argument('--out', help='JSON file for the table')
    return parser.parse_args()


def calibrate(runner: Runner) -> dict[str, nn.Module]:
    """Plan, convert and calibrate; returns the quantized layers by name."""
    loop = runner.train_loop
    runner.load_or_resume()
    ctx = loop.make_context()
    prepare_model(ctx, loop.quantizer)
    calibrate_model(ctx, loop.stages)
    return quantized_layers(ctx.model)


def groups_of(names: list[str], patterns: list[str] | None) -> dict[str, set[str]]:
    """Layer names by group: those that match a glob, or each layer alone."""
    if patterns is None:
        return {name: {name} for name in names}
    return {glob: set(match(glob, names, '--groups', 'quantized layer')) for glob in patterns}


def run(args: argparse.Namespace) -> list[dict]:
    config = ptq_config(args)
    prepare_runner_config(config, args.checkpoint)
    runner = build_runner(config)
    layers = calibrate(runner)
    everything = set(layers)
    groups = groups_of(list(layers), args.groups)
    batches = list(islice(runner.val_dataloader, args.num_images))

    def metrics(names: Set[str]) -> dict[str, float]:
        with only_quantized(layers, names, PARTS[args.part]):
            return evaluate_batches(runner, batches)

    rows = {'(float)': metrics(set()), '(all)': metrics(everything)}
    all_but = everything if args.mode == 'except' else None
    for name, row in measure_sensitivity(groups, metrics, all_but).items():
        rows[name if all_but is None else f'all but {name}'] = row
    return [dict(quantized=name, **row) for name, row in rows.items()]


def main() -> None:
    args = parse_args()
    try:
        rows = run(args)
        if args.out:
            write_json(rows, args.out)
    except (ValueError, OSError, QuantizationError) as error:
        sys.exit(f'error: {error}')
    print(format_table(rows))


if __name__ == '__main__':
    main()
