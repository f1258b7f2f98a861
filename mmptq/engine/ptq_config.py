"""Configs of PTQ runs, from a float config and the names on a command line."""

import argparse
import re
from typing import Any

from mmengine.config import Config

from mmptq.ptq.policy import apply_policy
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import base_config, load_config, merge_options

from .auto_config import prepare_auto
from .budget_options import add_budget_arguments, add_budget_stages
from .checkpoint import plan_of, read_checkpoint
from .config_types import check_types
from .data_config import add_calibration_argument, prepare_data, set_calibration_data
from .training import is_of_training, prepare_config

# Kind of a part of configs/_base_: its key in a config, and what is taken where nothing is named.
PARTS = dict(scheme=('quantizer', 'int8'), recipe=('stages', 'auto'))
BITS = re.compile(r'(?P<both>\d+)|w(?P<weight>\d+)a(?P<act>\d+)')


def add_ptq_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that make a PTQ config of any config."""
    parser.add_argument(
        '--scheme',
        help='bits: a name of configs/_base_/schemes; default: that of the config, or int8',
    )
    parser.add_argument(
        '--recipe',
        help='method: a name of configs/_base_/recipes; default: that of the config, or auto',
    )
    parser.add_argument('--backend', help='fit the scheme to a name of configs/_base_/backends')
    parser.add_argument('--float', nargs='+', metavar='NAME', help='layers that stay float (globs)')
    parser.add_argument(
        '--bits',
        nargs='+',
        metavar='NAME=BITS',
        help='bits of weights and inputs of layers (globs): NAME=8, or NAME=w4a8',
    )
    add_calibration_argument(parser)
    add_budget_arguments(parser)


def ptq_config(args: argparse.Namespace) -> Config:
    """The config of the command line, with scheme, recipe, model policy and layer rules.

    Where nothing names a scheme it has 8 bits; where nothing names a recipe it is ``auto``, which
    finds out by itself what the network needs.
    Later ones win: the config, ``--scheme`` and ``--recipe``, ``--cfg-options``, the policy of the
    model (``ptq`` in its config), ``--float`` and ``--bits``.

    Args:
        args (argparse.Namespace): Of ``make_parser`` and :func:`add_ptq_arguments`.

    Raises:
        FileNotFoundError: If there is no such config, scheme, recipe or backend.
        QuantizationError: If the options do not fit.
    """
    # The options may change what the scheme and the recipe bring, so they come after them.
    cfg = load_config(argparse.Namespace(**dict(vars(args), cfg_options={})))
    for kind, (key, default) in PARTS.items():
        name = getattr(args, kind) or (None if cfg.get(key) else default)
        if name is not None:
            cfg[key] = base_config(kind, name)[key]
            make_ptq_config(cfg)
    if (cfg.get('train_cfg') or {}).get('type') != 'PTQLoop':
        make_ptq_config(cfg)
    if args.backend is not None:
        cfg.backend = base_config('backend', args.backend).backend
    merge_options(cfg, args.cfg_options)
    check_types(cfg)
    set_calibration_data(cfg, getattr(args, 'calibration_data', None))
    apply_policy(cfg)
    add_budget_stages(cfg, args)
    rules = layer_rules(args.float or [], args.bits or [])
    if rules:
        cfg.quantizer.rules = [*(cfg.quantizer.get('rules') or []), *rules]
    prepare_auto(cfg)
    return cfg


def layer_rules(floats: list[str], bits: list[str]) -> list[dict[str, Any]]:
    """Rules of ``--float NAME ...`` and ``--bits NAME=BITS ...``.

    Raises:
        QuantizationError: If an entry of ``bits`` has another form.
    """
    rules = [dict(name=name, weight=None, act=None, reason='--float') for name in floats]
    for entry in bits:
        name, _, text = entry.rpartition('=')
        match = BITS.fullmatch(text)
        if not name or match is None:
            raise QuantizationError(f"--bits '{entry}': use NAME=8, or NAME=w4a8")
        weight, act = (int(match[part] or match['both']) for part in ('weight', 'act'))
        rules.append(
            dict(name=name, weight=dict(bits=weight), act=dict(bits=act), reason=f'--bits {text}')
        )
    return rules


def prepare_runner_config(cfg: Config, checkpoint: str | None) -> None:
    """Set what a runner with a PTQ loop asks for besides the PTQ config."""
    cfg.load_from = checkpoint or cfg.get('load_from')
    prepare_config(cfg)
    # The runner asks for an optimizer wherever there is a train loop; PTQLoop puts another one in
    # its place. That of the float config may need a package that is not installed.
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0))
    cfg.param_scheduler = None
    cfg.auto_scale_lr = None
    # Without a seed the runner would draw one, and every run other calibration samples.
    cfg.randomness = dict(dict(seed=0), **(cfg.get('randomness') or {}))
    cfg.randomness.pop('diff_rank_seed', None)  # all processes choose the same samples
    use_replicas(cfg)
    prepare_data(cfg)


def use_replicas(cfg: Config) -> None:
    """Give every process of a distributed run a model that is not trained together."""
    if cfg.get('launcher', 'none') != 'none':
        cfg.model_wrapper_cfg = dict(type='Replica')


def config_text(cfg: Config) -> str:
    """The config that goes into a checkpoint; it does not tell how many processes there were."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    if (cfg.get('model_wrapper_cfg') or {}).get('type') == 'Replica':
        cfg.pop('model_wrapper_cfg')
    if 'launcher' in cfg:
        cfg.launcher = 'none'
    return cfg.pretty_text


def make_ptq_config(cfg: Config) -> None:
    """Turn a float config into one that any stock tool can test the result with."""
    imports = dict(cfg.get('custom_imports') or {})
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else names
    imports['imports'] = [*(name for name in names if name != 'mmptq'), 'mmptq']
    cfg.custom_imports = {'allow_failed_imports': False, **imports}
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if not _is_replaced(hook)]
    cfg.custom_hooks = [*hooks, dict(type='QuantizationHook')]
    cfg.train_cfg = dict(type='PTQLoop')


def _is_replaced(hook: Any) -> bool:
    """Whether a hook belongs to a training, or is the one that is added."""
    kind = hook.get('type') if isinstance(hook, dict) else type(hook)
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2] == 'QuantizationHook' or is_of_training(hook)


def check_config(cfg: Config) -> None:
    """Refuse what would fail only after minutes of work."""
    if not cfg.get('model'):
        raise QuantizationError("the config has no 'model': give the config of a detector")
    if (cfg.get('train_cfg') or {}).get('type') != 'PTQLoop':
        raise QuantizationError(
            f'train_cfg={cfg.get("train_cfg")} is no loop that quantizes: leave train_cfg out of '
            "--cfg-options, or give it type='PTQLoop'"
        )
    if not cfg.load_from:
        raise QuantizationError(
            'there is no float checkpoint: give one after the config or set load_from'
        )
    if '://' not in cfg.load_from and plan_of(read_checkpoint(cfg.load_from)) is not None:
        raise QuantizationError(
            f"checkpoint '{cfg.load_from}' is quantized already: give the float checkpoint, or "
            'test this one with tools/test.py'
        )
