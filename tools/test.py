"""Evaluates a float or quantized model; like the stock tools/test.py of mmdet and mmdet3d.

python tools/test.py CONFIG CHECKPOINT [--out METRICS.json]
"""

import sys

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.quantization import QuantizationError
from mmptq.utils.command_line import build_runner, load_config, make_parser, require_file
from mmptq.utils.files import write_json


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='JSON file to write the metrics to')
    args = parser.parse_args()
    try:
        config = load_config(args)
        require_file(args.checkpoint, 'checkpoint')
        config.load_from = args.checkpoint
        metrics = build_runner(config).test()
        if args.out:
            write_json(metrics, args.out)
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')
    for name, value in metrics.items():
        print(f'{name}: {value}')


if __name__ == '__main__':
    main()
