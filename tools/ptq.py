"""Quantize a float model after training, evaluate it before and after, save it.

python tools/ptq.py CONFIG [CHECKPOINT]                     CONFIG is a PTQ config of configs/
python tools/ptq.py CONFIG CHECKPOINT --scheme int8 --recipe mse    CONFIG is any float config
"""

import argparse
import sys

from mmengine.config import Config

from mmptq.engine.ptq_config import check_config, make_ptq_config, prepare_runner_config
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import base_config, build_runner, load_config, make_parser
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
