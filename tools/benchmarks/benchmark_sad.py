"""Trains a network with and without self attention distillation and compares their lanes.

python tools/benchmarks/benchmark_sad.py configs/demo/enet_sad_demo-lane.py --seeds 0 1 2
python tools/benchmarks/benchmark_sad.py configs/demo/enet_sad_demo-lane.py \
    --gradients CHECKPOINT ...

Both trainings of a seed are the same except for the distillation. Finished trainings are found
again in the work directory, so that an interrupted comparison goes on where it stopped. The
second command trains nothing: it compares the gradient of the distillation with that of all other
losses on the weights of each part of the backbone.
"""

import copy
import json
import math
import statistics
import sys
from itertools import islice
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.build import load_model
from mmptq.report import format_table
from mmptq.utils.cli import build_runner, load_config, make_parser, require_file
from mmptq.utils.files import write_json

# At IoU 0.5, and the mean over 0.5 to 0.95, which does not saturate on easy roads.
METRICS = ('culane/F1', 'culane/mF1')


def parse_args():
    parser = make_parser(__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument(
        '--gradients', nargs='+', metavar='CHECKPOINT', help='only norms of gradients there'
    )
    parser.add_argument('--num-batches', type=int, default=6, help='batches for --gradients')
    return parser.parse_args()


def without_distillation(config: Config) -> Config:
    """A copy of the config that differs in the distillation only.

    Raises:
        ValueError: If there is nothing to leave out.
    """
    if not config.model.get('distillation'):
        raise ValueError("the config has no distillation: give one with 'SADLoss' and 'SADHook'")
    config = copy.deepcopy(config)
    config.model.distillation = None
    hooks = config.get('custom_hooks', [])
    config.custom_hooks = [hook for hook in hooks if hook['type'] != 'SADHook']
    return config


def train(config: Config, seed: int, folder: Path) -> dict[str, float]:
    """Metrics after the training, trained only if there is no result yet."""
    result = folder / 'result.json'
    if not result.is_file():
        config = copy.deepcopy(config)
        config.work_dir = str(folder)
        config.randomness = dict(config.get('randomness', {}), seed=seed)
        runner = build_runner(config)
        runner.train()
        scores = {
            name.removeprefix('val/'): float(scalar.current())
            for name, scalar in runner.message_hub.log_scalars.items()
            if name.startswith('val/culane/')
        }
        write_json(dict(scores, seed=seed), result)
    return json.loads(result.read_text())


def run(args) -> None:
    config = load_config(args)
    without = without_distillation(config)
    if args.gradients:
        for checkpoint in args.gradients:
            print(checkpoint)
            print(format_table(gradient_rows(config, checkpoint, args.num_batches)))
        return
    configs = {'with SAD': config, 'without': without}
    results = []
    for seed in args.seeds:
        scores = {}
        for name, variant in configs.items():
            folder = Path(config.work_dir) / f'{name.replace(" ", "_")}_seed{seed}'
            scores[name] = train(variant, seed, folder)
        results.append(dict(seed=seed, **scores))
    for metric in METRICS:
        report(metric, results)
    print(format_table(category_rows(results)))


def report(metric: str, results: list[dict]) -> None:
    """Print one metric of all seeds, and the mean of the differences with its spread."""
    differences = [row['with SAD'][metric] - row['without'][metric] for row in results]
    rows = [
        {
            'seed': str(row['seed']),
            'with SAD': f'{row["with SAD"][metric]:.4f}',
            'without': f'{row["without"][metric]:.4f}',
            'difference': f'{difference:+.4f}',
        }
        for row, difference in zip(results, differences, strict=True)
    ]
    print(format_table(rows))
    spread = f' ± {statistics.stdev(differences):.4f}' if len(rows) > 1 else ''
    print(f'mean difference of {metric}: {statistics.mean(differences):+.4f}{spread}\n')


def gradient_rows(config: Config, checkpoint: str, num_batches: int) -> list[dict]:
    """Norms over the first training batches, seed 0, one row per part of the backbone.

    Args:
        config (Config): With distillation.
        checkpoint (str): Of this model.
        num_batches (int): How many batches; squared norms are averaged over them.
    """
    require_file(checkpoint, 'checkpoint')
    model = load_model(config, checkpoint, quantized=False).train()
    model.distillation.enabled = True
    loader = dict(config.train_dataloader, num_workers=0, persistent_workers=False)
    weights = dict(model.backbone.named_parameters())
    squares = {name.split('.')[0]: [0.0, 0.0] for name in weights}
    for batch in islice(Runner.build_dataloader(loader, seed=0), num_batches):
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        sad = losses.pop('loss_distillation')
        others = sum(value for name, value in losses.items() if 'loss' in name)
        for index, loss in enumerate((others, sad)):
            gradients = torch.autograd.grad(
                loss, list(weights.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    squares[name.split('.')[0]][index] += gradient.square().sum().item()
    rows = []
    for part, (others, sad) in squares.items():
        others, sad = (math.sqrt(value / num_batches) for value in (others, sad))
        rows.append({'part': part, 'other losses': others, 'SAD': sad, 'ratio': sad / others})
    return rows


def category_rows(results: list[dict]) -> list[dict]:
    """F1 of each category, the mean over seeds, with and without; results of older runs lack it."""
    runs = [row[name] for row in results for name in ('with SAD', 'without')]
    names = sorted(set.intersection(*(set(run) for run in runs)) - set(METRICS))
    rows = []
    for metric in (name for name in names if name.startswith('culane/F1_')):
        with_sad, without = (
            statistics.mean(row[name][metric] for row in results)
            for name in ('with SAD', 'without')
        )
        row = {'metric': metric, 'with SAD': with_sad, 'without': without}
        rows.append(row | {'difference': with_sad - without})
    return rows


def main() -> None:
    args = parse_args()
    try:
        run(args)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
