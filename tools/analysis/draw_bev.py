"""Draws a scan from above with the boxes of the float and of the quantized model.

python tools/analysis/draw_bev.py CONFIG QUANTIZED.pth SCAN [--out bev.png]

CONFIG is the config of the model (a PTQ config has the float checkpoint in load_from; else name it
with --float). SCAN is a .bin file, or the number of a sample of the test data.
"""

import sys

import cv2

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.build import load_model
from mmptq.engine.scan_detection import ScanReader, detect
from mmptq.quantization import QuantizationError
from mmptq.report.bev import BoxGroup, draw_bev
from mmptq.utils.cli import load_config, make_parser, require_file
from mmptq.utils.files import complete_file

FLOAT_COLOUR, QUANTIZED_COLOUR = (80, 220, 80), (60, 60, 255)
LARGEST_SIDE = 1400  # pixels


def parse_args():
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='quantized checkpoint')
    parser.add_argument('scan', help='.bin file, or number of a test sample')
    parser.add_argument('--float', help="float checkpoint (default: the config's load_from)")
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score that is drawn')
    parser.add_argument('--out', default='bev.png', help='the picture')
    return parser.parse_args()


def draw(args) -> str:
    """Write the picture; returns a sentence about it."""
    cfg = load_config(args)
    float_checkpoint = args.float or cfg.get('load_from')
    if not float_checkpoint:
        raise QuantizationError('there is no float checkpoint: name it with --float')
    require_file(args.checkpoint, 'checkpoint')
    reader = ScanReader(cfg)
    found, points = {}, None
    for name, checkpoint in (('float', float_checkpoint), ('quantized', args.checkpoint)):
        batch = reader.read(args.scan)
        points = batch['inputs']['points'][0].numpy()
        found[name] = detect(load_model(cfg, checkpoint), batch, args.score_thr)
    if len(points) == 0:
        raise QuantizationError(f"scan '{args.scan}' has no point inside the range of the model")
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    groups = [
        BoxGroup('float', found['float']['boxes'], FLOAT_COLOUR, 3),
        BoxGroup('quantized', found['quantized']['boxes'], QUANTIZED_COLOUR, 1),
    ]
    picture = draw_bev(points, groups, (*low, *high), LARGEST_SIDE / max(high - low))
    with complete_file(args.out) as temporary:
        temporary.write_bytes(cv2.imencode('.png', picture)[1].tobytes())
    counts = ', '.join(f'{len(boxes["boxes"])} {name}' for name, boxes in found.items())
    return f'{args.out}: {len(points)} points, boxes: {counts}'


def main() -> None:
    args = parse_args()
    try:
        print(draw(args))
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
