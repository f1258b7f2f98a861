"""Trains a float model; like the stock tools/train.py of mmdet and mmdet3d.

python tools/train.py CONFIG [--resume [CHECKPOINT]]
"""

import sys

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import build_runner, load_config, make_parser, require_file
from mmptq.utils.messages import DataError, last_sentence


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint, or from the latest one in the work directory',
    )
    args = parser.parse_args()
    try:
        config = load_config(args)
        if args.resume:
            config.resume = True
            config.load_from = None if args.resume == 'auto' else args.resume
        if config.get('load_from'):
            require_file(config.load_from, 'checkpoint')
        build_runner(config).train()
    except (DataError, QuantizationError, OSError) as error:
        sys.exit(f'error: {last_sentence(error)}')


if __name__ == '__main__':
    main()
