"""Sensitivity of the heads of a lane detector: lane distortion against the size of their errors.

python tools/analysis/head_sensitivity.py CONFIG CHECKPOINT --scheme w4a4 --recipe mse
python tools/analysis/head_sensitivity.py PTQ_CONFIG [CHECKPOINT] [--num-images N]
    [--ratios 0 0.5 1 2] [--out FILE.json] [--picture FILE.png]

Plans and calibrates like tools/ptq.py, with the stages of the recipe up to the first that
calibrates. On calibration images each head alone then gets its own quantization error times each
ratio, and the lanes are decoded again; no label is read. Rows named foreground and background have
the error where the float model's confidence is above and below 0.5, scaled to the energy of the
whole error.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.adapters import LaneHeadAdapter, build_adapter
from mmptq.engine.ptq_config import add_ptq_arguments, prepare_runner_config, ptq_config
from mmptq.losses import SemanticFocusLoss, head_distortions
from mmptq.ptq import PTQContext
from mmptq.ptq.run import calibrate_model, prepare_model
from mmptq.quantization import QuantizationError, quantizers_off
from mmptq.report import format_table, line_chart
from mmptq.utils.cli import build_runner, make_parser
from mmptq.utils.files import complete_file, write_json

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
FOREGROUND = 0.5
WHERE = ('everywhere', 'foreground', 'background')


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', nargs='?', help='float checkpoint (default: load_from)')
    add_ptq_arguments(parser)
    parser.add_argument('--num-images', type=int, default=16, help='calibration images')
    parser.add_argument('--ratios', type=float, nargs='+', default=RATIOS, help='times the error')
    parser.add_argument('--out', help='JSON file for the table')
    parser.add_argument('--picture', default='head_sensitivity.png', help='PNG file of the curves')
    return parser.parse_args()


def calibrated(args: argparse.Namespace) -> PTQContext:
    """The model with calibrated quantizers, and its calibration images."""
    config = ptq_config(args)
    prepare_runner_config(config, args.checkpoint)
    runner = build_runner(config)
    runner.load_or_resume()
    loop = runner.train_loop
    ctx = loop.make_context()
    SemanticFocusLoss().check(build_adapter(ctx.model))
    prepare_model(ctx, loop.quantizer)
    calibrate_model(ctx, loop.stages)
    return ctx


@torch.no_grad()
def errors_by_place(adapter: LaneHeadAdapter, raw: Any, moved: Any) -> dict[str, dict]:
    """Errors of all parts: everywhere, and in the foreground or background at equal energy."""
    parts, other, masks = adapter.parts(raw), adapter.parts(moved), adapter.focus(raw)
    result: dict[str, dict[str, Tensor]] = {place: {} for place in WHERE}
    for name, part in parts.items():
        error = other[name] - part
        inside = (masks[name] > FOREGROUND).to(error)
        result['everywhere'][name] = error
        for place, mask in (('foreground', inside), ('background', 1 - inside)):
            masked = error * mask
            result[place][name] = masked * (error.norm() / masked.norm().clamp(min=1e-12))
    return result


def measure(ctx: PTQContext, ratios: list[float], num_images: int) -> list[dict[str, Any]]:
    """One row per head and place: mean distortion in pixels for each ratio."""
    adapter = build_adapter(ctx.model)
    distortion = TASK_UTILS.build(dict(type='LaneDistortion'))
    sums: dict[tuple[str, str], Tensor] = {}
    used = 0
    for data in ctx.batches('measure', num_images):
        with torch.no_grad(), quantizers_off(ctx.model):
            raw = adapter.raw_outputs(data)
        with torch.no_grad():
            moved = adapter.raw_outputs(data)
        if not any(len(sample.pred_lanes) for sample in adapter.decode(raw, data)):
            continue
        used += 1
        for place, errors in errors_by_place(adapter, raw, moved).items():
            found = head_distortions(adapter, raw, errors, data, ratios, distortion)
            for head, values in found.items():
                sums[head, place] = sums.get((head, place), 0) + torch.tensor(values)
    if not used:
        raise QuantizationError(
            'the float model finds no lane in the calibration images: check the checkpoint and '
            'calibration.data'
        )
    columns = [f'{ratio:g}' for ratio in ratios]
    heads = list(dict.fromkeys(head for head, _ in sums))
    return [
        dict(
            head=head,
            error=place,
            images=used,
            **dict(zip(columns, (sums[head, place] / used).tolist(), strict=True)),
        )
        for head in heads
        for place in WHERE
    ]


def draw(rows: list[dict[str, Any]], ratios: list[float], path: str) -> None:
    """Curves of all rows that move a lane."""
    lines = {
        f'{row["head"]}, {row["error"]}': [row[f'{r:g}'] for r in ratios]
        for row in rows
        if any(row[f'{r:g}'] for r in ratios)
    }
    picture = line_chart(ratios, lines, 'lane distortion in pixels', 'times the own error')
    with complete_file(path) as temporary:
        temporary.write_bytes(cv2.imencode('.png', picture)[1].tobytes())


def main() -> None:
    args = parse_args()
    try:
        if Path(args.picture).suffix.lower() != '.png':
            raise ValueError(f"'{args.picture}' is no PNG file: name it with .png")
        if args.num_images < 1 or min(args.ratios) < 0 or len(set(args.ratios)) < 2:
            raise ValueError('--num-images must be at least 1, --ratios two or more from 0')
        ratios = sorted(set(args.ratios))
        rows = measure(calibrated(args), ratios, args.num_images)
        if args.out:
            write_json(rows, args.out)
        draw(rows, ratios, args.picture)
    except (ValueError, OSError, QuantizationError) as error:
        sys.exit(f'error: {error}')
    print(format_table(rows))
    print(f'picture: {args.picture}')


if __name__ == '__main__':
    main()
