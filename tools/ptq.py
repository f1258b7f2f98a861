"""Quantize a float model after training, evaluate it before and after, save it.

python tools/ptq.py CONFIG [CHECKPOINT]                     CONFIG is a PTQ config of configs/
python tools/ptq.py CONFIG CHECKPOINT --scheme int8 --recipe mse    CONFIG is any float config
"""

import argparse
import sys

from mmengine.config import Config

from mmptq.engine.checkpoint import plan_of, read_checkpoint
from mmptq.quantization import QuantizationError
from mmptq.utils.command_line import base_config, build_runner, load_config, make_parser
from mmptq.utils.messages import DataError, last_sentence


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', nargs='?', help='float checkpoint (default: load_from)')
    parser.add_argument('--recipe', help='a name of configs/_base_/recipes')
    parser.add_argument('--scheme', help='a name of configs/_base_/schemes')
    parser.add_argument('--backend', help='fit the scheme to a name of configs/_base_/backends')
    parser.add_argument(
        '--resume', action='store_true', help='go on where a run in this work directory stopped'
    )
    return parser.parse_args()


def ptq_config(args: argparse.Namespace) -> Config:
    """The config with scheme, recipe and checkpoint merged in; the options come last."""
    cfg = load_config(args)
    parts = (('scheme', 'quantizer', args.scheme), ('recipe', 'stages', args.recipe))
    for kind, key, name in parts:
        if name is not None:
            cfg[key] = base_config(kind, name)[key]
            make_ptq_config(cfg)
    if args.backend is not None:
        cfg.backend = base_config('backend', args.backend).backend
    cfg.merge_from_dict(args.cfg_options)
    prepare_runner_config(cfg, args.checkpoint)
    return cfg


def prepare_runner_config(cfg: Config, checkpoint: str | None) -> None:
    """Set what a runner with a PTQ loop asks for besides the PTQ config."""
    cfg.load_from = checkpoint or cfg.get('load_from')
    # The runner asks for an optimizer wherever there is a train loop; it is not used.
    cfg.setdefault('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.0)))
    cfg.param_scheduler = None
    cfg.auto_scale_lr = None
    # Without a seed the runner would draw one, and every run other calibration samples.
    cfg.randomness = dict(dict(seed=0), **(cfg.get('randomness') or {}))


def make_ptq_config(cfg: Config) -> None:
    """Turn a float config into one that any stock tool can test the result with."""
    imports = (cfg.get('custom_imports') or {}).get('imports', [])
    imports = [name for name in imports if name != 'mmptq'] + ['mmptq']
    cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)
    cfg.custom_hooks = [dict(type='QuantizationHook')]
    cfg.train_cfg = dict(type='PTQLoop')


def check_config(cfg: Config) -> None:
    """Refuse what would fail only after minutes of work."""
    for key in ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator'):
        if not cfg.get(key):
            raise QuantizationError(
                f"the config has no '{key}': PTQ calibrates on the train data and evaluates on "
                'the validation data of the config'
            )
    if (cfg.get('train_cfg') or {}).get('type') != 'PTQLoop':
        raise QuantizationError(
            "the config is a float one (train_cfg is not dict(type='PTQLoop')): name a scheme and "
            'a recipe with --scheme and --recipe'
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


def main() -> None:
    args = parse_args()
    try:
        cfg = ptq_config(args)
        check_config(cfg)
        runner = build_runner(cfg)
        runner.train_loop.resume = args.resume
        runner.train()
    except (QuantizationError, DataError, OSError, ImportError) as error:
        sys.exit(f'error: {last_sentence(error)}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; nothing was written under a final name (--resume goes on)')


if __name__ == '__main__':
    main()
