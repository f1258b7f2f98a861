"""What tools/train.py and tools/test.py have in common with OpenMMLab's stock tools."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

BASE_CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_'


def make_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the arguments of the stock tools that concern every run."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='default: that of the config, or work_dirs/CONFIG_NAME')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, help='overrides: key=value ...'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torch.distributed.launch passes this one.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config and merges the arguments of ``make_parser`` into it.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    require_file(args.config, 'config')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = Config.fromfile(args.config)
    config.launcher = args.launcher
    config.merge_from_dict(args.cfg_options)
    if args.work_dir or not config.get('work_dir'):
        config.work_dir = args.work_dir or f'work_dirs/{Path(args.config).stem}'
    return config


def base_config(kind: str, name: str) -> Config:
    """A scheme, recipe or backend of ``configs/_base_`` by its name.

    Raises:
        FileNotFoundError: If there is none of this name; the message lists those there are.
    """
    folder = BASE_CONFIGS / f'{kind}s'
    path = folder / f'{name}.py'
    if not path.is_file():
        known = ', '.join(sorted(p.stem for p in folder.glob('*.py')))
        raise FileNotFoundError(f"there is no {kind} '{name}': use one of {known}")
    return Config.fromfile(path)


def require_file(path: str, kind: str) -> None:
    """Raises FileNotFoundError where a path (not an address as ``https://``) is no file."""
    if '://' not in path and not Path(path).is_file():
        raise FileNotFoundError(f"{kind} '{path}' does not exist: check the path")


def build_runner(config: Config) -> Runner:
    """Builds the runner that the config asks for, the stock one by default."""
    return RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
