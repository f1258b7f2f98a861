"""Compares the detections of a float and a quantized LiDAR model, without labels.

python tools/analysis/compare_detections.py CONFIG QUANTIZED.pth SCAN [SCAN ...] \
    [--out agreement.json]

A SCAN is a .bin file, or the number of a sample of the test data. Boxes of the same class pair up
within a metre, seen from above; the table has the share of boxes with a partner (of both models)
and the mean differences of the pairs.
"""

import sys
from pathlib import Path

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.build import load_model
from mmptq.engine.scan_detection import ScanReader, detect
from mmptq.evaluation import detection_agreement, summarize_agreement
from mmptq.quantization import QuantizationError
from mmptq.report import format_table
from mmptq.utils.cli import load_config, make_parser, require_file
from mmptq.utils.files import write_json


def parse_args():
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='quantized checkpoint')
    parser.add_argument('scans', nargs='+', help='.bin files, or numbers of test samples')
    parser.add_argument('--float', help="float checkpoint (default: the config's load_from)")
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score that counts')
    parser.add_argument('--out', help='JSON file for the table')
    return parser.parse_args()


def compare(args) -> list[dict]:
    """One row for each scan and one for all of them."""
    cfg = load_config(args)
    float_checkpoint = args.float or cfg.get('load_from')
    if not float_checkpoint:
        raise QuantizationError('there is no float checkpoint: name it with --float')
    require_file(args.checkpoint, 'checkpoint')
    reader = ScanReader(cfg)
    models = [load_model(cfg, path) for path in (float_checkpoint, args.checkpoint)]
    results = []
    for scan in args.scans:
        # Read twice: a model may change the batch that it is given.
        before, after = (detect(model, reader.read(scan), args.score_thr) for model in models)
        results.append(detection_agreement(before, after))
    rows = [_row(Path(s).name, [r]) for s, r in zip(args.scans, results, strict=True)]
    return [*rows, _row('all', results)]


def _row(name: str, results: list[dict]) -> dict:
    summary = summarize_agreement(results)
    return {
        'scan': name,
        'float boxes': sum(result['num_reference'] for result in results),
        'quantized boxes': sum(result['num_other'] for result in results),
        'matched': summary['matched'],
        'centre error m': summary['center_error'],
        'heading error deg': summary['heading_error'],
        'score error': summary['score_error'],
    }


def main() -> None:
    args = parse_args()
    try:
        rows = compare(args)
        print(format_table(rows))
        if args.out:
            write_json(rows, args.out)
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
