"""Quantize a float model after training, evaluate it before and after, save it.

python tools/ptq.py CONFIG CHECKPOINT --backend openvino            # any float config
python tools/ptq.py CONFIG CHECKPOINT --scheme w4a4 --recipe mse --float NAME --bits 'neck.*=8'
python tools/ptq.py PTQ_CONFIG [CHECKPOINT]    # a config that holds a scheme and a recipe
torchrun --nproc_per_node=2 tools/ptq.py CONFIG CHECKPOINT --launcher pytorch ...

CONFIG is a file, or mmdet::NAME.py, mmdet3d::NAME.py or mmptq::NAME.py for a config of an installed
package. Schemes, recipes and backends are files of configs/_base_. Where nothing names a scheme it
has 8 bits; where nothing names a recipe it is 'auto', which finds out what the network needs.
"""

import argparse
import sys

from mmptq.deploy.engines.registry import find_engine
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.file_simulation import FileSimulation
from mmptq.engine.config_types import build_problem
from mmptq.engine.ptq_config import (
    add_ptq_arguments,
    check_config,
    prepare_runner_config,
    ptq_config,
)
from mmptq.ptq.launch import connected
from mmptq.quantization import QuantizationError
from mmptq.quantization.limits import EXPORT_KEY
from mmptq.utils.cli import build_runner, make_parser
from mmptq.utils.messages import DataError, last_sentence


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', nargs='?', help='float checkpoint (default: load_from)')
    add_ptq_arguments(parser)
    parser.add_argument(
        '--resume', action='store_true', help='go on where a run in this work directory stopped'
    )
    return parser.parse_args()


def warn_without_engine(profile: ExportProfile) -> None:
    """Say early what export will need; quantization does without it."""
    try:
        find_engine(profile.engine).require()
    except QuantizationError as error:
        print(f'warning: exporting the result will need its engine: {error}', file=sys.stderr)


def main() -> None:
    args = parse_args()
    try:
        cfg = ptq_config(args)
        prepare_runner_config(cfg, args.checkpoint)
        check_config(cfg)
        profile = None
        if (cfg.get('backend') or {}).get(EXPORT_KEY):
            profile = ExportProfile.from_config(cfg.backend)  # refused now, and not after the run
            warn_without_engine(profile)
        with connected(cfg):
            runner = build_runner(cfg)
            runner.train_loop.resume = args.resume
            if profile is not None:
                runner.train_loop.simulation = FileSimulation(profile)
            runner.train()
    except (QuantizationError, DataError, OSError, ImportError) as error:
        sys.exit(f'error: {last_sentence(error)}')
    except (KeyError, TypeError) as error:
        problem = build_problem(error)
        if problem is None:
            raise
        sys.exit(f'error: {problem}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; nothing was written under a final name (--resume goes on)')


if __name__ == '__main__':
    main()
