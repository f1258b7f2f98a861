"""Trains a network with and without self attention distillation and compares their F1.

python tools/benchmark_sad.py configs/demo/enet_sad_demo-lane.py --seeds 0 1 2

Both trainings of a seed are the same except for the distillation. Finished trainings are found
again in the work directory, so that an interrupted comparison goes on where it stopped.
"""

import copy
import json
import statistics
import sys
from pathlib import Path

from mmengine.config import Config

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.report import format_table
from mmptq.utils.command_line import build_runner, load_config, make_parser
from mmptq.utils.files import write_json

METRIC = 'culane/F1'


def parse_args():
    parser = make_parser(__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
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


def train(config: Config, seed: int, folder: Path) -> float:
    """F1 after the training, trained only if there is no result yet."""
    result = folder / 'result.json'
    if not result.is_file():
        config = copy.deepcopy(config)
        config.work_dir = str(folder)
        config.randomness = dict(config.get('randomness', {}), seed=seed)
        runner = build_runner(config)
        runner.train()
        score = runner.message_hub.get_scalar(f'val/{METRIC}').current()
        write_json({METRIC: float(score), 'seed': seed}, result)
    return json.loads(result.read_text())[METRIC]


def run(args) -> None:
    config = load_config(args)
    configs = {'with SAD': config, 'without': without_distillation(config)}
    rows = []
    for seed in args.seeds:
        row = {'seed': seed}
        for name, variant in configs.items():
            folder = Path(config.work_dir) / f'{name.replace(" ", "_")}_seed{seed}'
            row[name] = train(variant, seed, folder)
        row['difference'] = row['with SAD'] - row['without']
        rows.append(row)
    print(format_table(rows))
    differences = [row['difference'] for row in rows]
    spread = f' +- {statistics.stdev(differences):.4f}' if len(rows) > 1 else ''
    print(f'mean difference of {METRIC}: {statistics.mean(differences):+.4f}{spread}')


def main() -> None:
    args = parse_args()
    try:
        run(args)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
