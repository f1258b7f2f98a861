"""Compares two PTQ runs on one evaluation set and writes a page about them.

python tools/analysis/compare.py WORK_DIR_A WORK_DIR_B [--out compare.html]

Both folders hold the results of tools/ptq.py, with samples.npz. The page has the metrics of both
quantized models with the paired intervals of their differences, the layers that differ in bits or
scales, and the samples whose detections changed most. It is one file that needs no network.
"""

import sys

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.compare_runs import compare_runs
from mmptq.quantization import QuantizationError
from mmptq.report.page import write_page
from mmptq.utils.cli import tool_parser


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('first', metavar='WORK_DIR_A', help='work directory of a run')
    parser.add_argument('second', metavar='WORK_DIR_B', help='work directory of another run')
    parser.add_argument('--out', default='compare.html', help='the page')
    args = parser.parse_args()
    try:
        content = compare_runs(args.first, args.second)
        write_page(args.out, content)
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: {content["heading"]}')


if __name__ == '__main__':
    main()
