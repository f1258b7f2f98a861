"""Exports a quantized model for an inference engine, after a check in that engine.

python tools/export.py CONFIG quantized.pth --backend onnxruntime
python tools/export.py CONFIG float.pth --float             the float network, to compare with
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.deploy import (
    ExportedSubgraph,
    FileForm,
    RawImages,
    check_exportable,
    export_float,
    export_quantized,
)
from mmptq.deploy.end_to_end import require_decoding
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.file_form import OPEN
from mmptq.deploy.inputs import collect_inputs
from mmptq.deploy.parity import MIN_DECIBEL
from mmptq.deploy.raw_images import TYPES as RAW_TYPES
from mmptq.deploy.sparse_engine import plan_sparse_export
from mmptq.deploy.sparse_scales import write_sparse_scales
from mmptq.engine.build import build_model
from mmptq.engine.checkpoint import plan_of, read_checkpoint
from mmptq.engine.data_config import add_calibration_argument, set_calibration_data
from mmptq.engine.load_weights import load_weights
from mmptq.quantization import QuantizationError, QuantPlan
from mmptq.utils.cli import base_config, load_config, make_parser
from mmptq.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='quantized checkpoint, or with --float a float one')
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--backend', help='a name of configs/_base_/backends')
    kind.add_argument('--float', action='store_true', help='export the float network')
    parser.add_argument('--out', help='default: BACKEND.onnx or float.onnx in the work directory')
    parser.add_argument(
        '--num-samples',
        type=int,
        help='calibration samples (default: those of the config, 16 at most)',
    )
    add_calibration_argument(parser)
    parser.add_argument(
        '--min-db',
        type=float,
        default=MIN_DECIBEL,
        help='smallest signal-to-noise of the engine that is accepted (default: %(default)s)',
    )
    parser.add_argument(
        '--float-outputs',
        type=int,
        metavar='N',
        help='for backends with 8-bit layer outputs: keep the outputs of the N most sensitive '
        'layers in float (default: as many as the outputs of the network need)',
    )
    parser.add_argument(
        '--sparse-in-pytorch',
        action='store_true',
        help='leave a sparse voxel encoder in PyTorch, for layers that the sparse engine has not',
    )
    add_form_arguments(parser)
    args = parser.parse_args()
    if args.float_outputs is not None and args.float_outputs < 0:
        parser.error(f'--float-outputs {args.float_outputs}: use a number ≥ 0')
    return args


def add_form_arguments(parser: argparse.ArgumentParser) -> None:
    """Options about what the file takes and gives, see :func:`file_form`."""
    parser.add_argument(
        '--fixed-size',
        action='store_true',
        help='fix the input size to that of the first sample; default: open',
    )
    parser.add_argument(
        '--opset',
        type=int,
        metavar='N',
        help='version of the ONNX operators (default: the lowest that the network needs)',
    )
    parser.add_argument(
        '--batch',
        metavar='N',
        help=f"images that the file takes at a time, or '{OPEN}' (default: open where input size "
        'and network allow it, 1 otherwise)',
    )
    parser.add_argument(
        '--with-normalization',
        nargs='?',
        choices=list(RAW_TYPES),
        const='uint8',
        help='put mean, std and channel order into the file, which then takes raw images of this '
        'type (default: uint8)',
    )
    parser.add_argument(
        '--end-to-end',
        action='store_true',
        help='put decoding and NMS into the file, which then gives boxes, scores and labels',
    )


def file_form(detector: nn.Module, args: argparse.Namespace) -> FileForm:
    """What the file takes and gives; refused before any work where that is not possible."""
    batch = args.batch
    if batch is not None and batch != OPEN:
        if not batch.removeprefix('-').isdecimal():
            raise QuantizationError(f"--batch {batch}: use a number ≥ 1, or '{OPEN}'")
        batch = int(batch)
    if args.end_to_end:
        require_decoding(detector)
    raw = args.with_normalization and RawImages.of(detector, args.with_normalization)
    return FileForm(
        not args.fixed_size, batch, args.opset, args.float_outputs, raw, args.end_to_end
    )


def describe(
    cfg: Config, plan: QuantPlan | None, args: argparse.Namespace, form: FileForm
) -> dict[str, Any]:
    """Metadata of a file about its origin."""
    keys = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'pad_size_divisor', 'pad_value')
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    taken = 'float32, after the data preprocessor'
    if form.raw is not None:
        taken = f'{form.raw.dtype}, raw images from 0 to 255 as the data pipeline loads them'
    return dict(
        config=Path(args.config).name,
        checkpoint=str(Path(args.checkpoint).resolve()),
        recipe=cfg.get('stages'),
        scheme={
            layer.name: [scheme and scheme.describe() for scheme in (layer.weight, layer.act)]
            for layer in (plan.layers if plan else ())
        },
        input=dict(
            layout=f'batch, channels, height, width; {taken}',
            preprocessor={key: preprocessor[key] for key in keys if key in preprocessor},
        ),
    )


def run(args: argparse.Namespace) -> None:
    cfg = load_config(args)
    set_calibration_data(cfg, args.calibration_data)
    profile = None
    if args.backend:
        profile = ExportProfile.from_config(base_config('backend', args.backend).backend)
    out = Path(args.out or Path(cfg.work_dir, f'{args.backend or "float"}.onnx'))
    checkpoint = read_checkpoint(args.checkpoint)
    plan = plan_of(checkpoint)
    if profile is not None and plan is None:
        raise QuantizationError(
            f"checkpoint '{args.checkpoint}' is not quantized: run tools/ptq.py first, or export "
            'it with --float'
        )
    if profile is None and plan is not None:
        raise QuantizationError(
            f"checkpoint '{args.checkpoint}' is quantized: name a --backend instead of --float"
        )
    detector = build_model(cfg)
    load_weights(detector, checkpoint)
    form = file_form(detector, args)
    metadata = describe(cfg, plan, args, form)
    if profile is None:
        inputs = collect_inputs(cfg, detector, args.num_samples or 4, form, metadata)
        export_float(detector, inputs, out, form, metadata)
    else:
        check_exportable(detector, plan.layers, profile)
        origin = {key: metadata[key] for key in ('config', 'checkpoint')}
        sparse = None if args.sparse_in_pytorch else plan_sparse_export(detector, origin)
        with sparse.watching() if sparse else nullcontext():
            inputs = collect_inputs(cfg, detector, args.num_samples, form, metadata)
        if sparse:
            metadata['sparse'] = sparse.describe()
            sparse_rows = sparse.check()
        rows = export_quantized(detector, profile, inputs, out, metadata, form, args.min_db)
        write_json(rows, out.with_suffix('.parity.json'))
        if sparse:
            file = sparse.write(out)
            write_json(sparse_rows, file.with_suffix('.parity.json'))
            print(f'{file}: {file.stat().st_size / 2**20:.2f} MB')
        write_sparse_scales(detector, ExportedSubgraph(detector), out.with_suffix('.sparse.json'))
    print(f'{out}: {out.stat().st_size / 2**20:.2f} MB')


def main() -> None:
    try:
        with torch.no_grad():
            run(parse_args())
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; no file was written')


if __name__ == '__main__':
    main()
