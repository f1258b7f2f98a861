"""What the command-line tools have in common."""

import argparse
import os
import re

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .config_files import base_config, config_stem, read_config, require_file
from .errors import QuantizationError

__all__ = [
    'base_config',
    'build_runner',
    'load_config',
    'make_parser',
    'merge_options',
    'read_config',
    'require_file',
    'tool_parser',
]
# A command of a docstring, with the lines that go on behind a backslash.
COMMAND = re.compile(r'^ *(python tools/(?:.*\\\n)*.*)$', re.MULTILINE)


def tool_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser whose help begins with the first command of a tool's docstring.

    Args:
        description (str): The docstring: one sentence, the commands, and what else there is to
            know. The first line that starts with ``python tools/`` is the usage.
    """
    command = COMMAND.search(description)
    usage = ' '.join(command[1].replace('\\\n', ' ').split('#')[0].split()) if command else None
    return argparse.ArgumentParser(
        usage=usage,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def make_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the arguments of the stock tools that concern every run."""
    parser = tool_parser(description)
    parser.add_argument('config', help='config file, or PACKAGE::PATH as in mmdet::yolox/NAME.py')
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
        QuantizationError: If the options do not fit the config.
    """
    config = read_config(args.config)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config.launcher = args.launcher
    merge_options(config, args.cfg_options)
    if args.work_dir or not config.get('work_dir'):
        config.work_dir = args.work_dir or f'work_dirs/{config_stem(args.config)}'
    return config


def merge_options(config: Config, options: dict) -> None:
    """Merges ``--cfg-options``.

    Raises:
        QuantizationError: If a key leads into what is no dict, or behind the end of a list.
    """
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError, AttributeError, IndexError) as error:
        said = error.args[0] if error.args else type(error).__name__
        raise QuantizationError(f'--cfg-options do not fit the config: {said}') from error


def build_runner(config: Config) -> Runner:
    """Builds the runner that the config asks for, the stock one by default."""
    return RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
