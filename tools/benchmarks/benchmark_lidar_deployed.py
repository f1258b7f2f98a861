"""Time a LiDAR detector from points to boxes on a CPU: float and integers, in turns.

python tools/benchmarks/benchmark_lidar_deployed.py \
    configs/nuscenes/centerpoint_voxel01_keyframe.py --points SCAN.bin --columns 5 \
    [--scheme int8_sparse] [--threads 1 2]

Weights are drawn at random, and BatchNorms get the statistics of the first scan. The detector is
quantized by min-max on the scans and exported as tools/export.py does, with its checks. Then run in
turns, each with its own pre- and post-processing: float in PyTorch with spconv; the encoder in
PyTorch and the rest in OpenVINO, float; the sparse engine and OpenVINO, integers.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from sparse_case import add_arguments, measure_norms, medians, random_detector, read_batches
from torch import nn

import mmptq
from mmptq.deploy import (
    FileForm,
    export_float,
    export_quantized,
    open_engine_file,
    replace_with_engine,
    subgraph_inputs,
)
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.sparse_engine import open_sparse_network, plan_sparse_export, replace_encoder
from mmptq.quantization import QuantizationError
from mmptq.report import format_table
from mmptq.utils.cli import base_config, tool_parser
from mmptq.utils.files import write_json

FLOAT, MIXED, INTEGER = 'PyTorch float', 'PyTorch and OpenVINO float', 'integers'


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add_arguments(parser)
    parser.add_argument('--scheme', default='int8_sparse', help='int8_lidar for pillars')
    parser.add_argument('--work-dir', default='work_dirs/benchmark_lidar_deployed')
    return parser.parse_args()


@torch.no_grad()
def export_files(detector: nn.Module, batches: list[dict], args: argparse.Namespace) -> Path:
    """Write ``float.onnx``, ``integer.onnx`` and, for a sparse encoder, its file.

    Args:
        detector (nn.Module): Float; it is not changed.
        batches (list[dict]): Scans for the ranges and the checks.
        args (argparse.Namespace): Scheme and work directory.
    """
    folder = Path(args.work_dir)
    quantized = copy.deepcopy(detector)
    with subgraph_inputs(detector) as inputs:
        detector.test_step(batches[0])
    form = FileForm(dynamic=False)
    export_float(detector, inputs, folder / 'float.onnx', form)
    mmptq.quantize(quantized, batches, args.scheme, 'minmax', backend='openvino')
    sparse = plan_sparse_export(quantized, {})
    with subgraph_inputs(quantized) as inputs:
        if sparse is None:
            quantized.test_step(batches[0])
        else:
            with sparse.watching():
                quantized.test_step(batches[0])
    metadata = dict(sparse=sparse.describe()) if sparse else {}
    profile = ExportProfile.from_config(base_config('backend', 'openvino').backend)
    # Random weights amplify every rounding; the layers are checked one by one.
    export_quantized(
        quantized, profile, inputs, folder / 'integer.onnx', metadata, form, min_decibel=0.0
    )
    if sparse:
        sparse.check()
        sparse.write(folder / 'integer.onnx')
    return folder


def deployed(detector: nn.Module, path: Path, threads: int) -> nn.Module:
    """A copy of a detector whose network, or the part from the BEV map on, runs in engines."""
    detector = copy.deepcopy(detector)
    engine = open_engine_file(path, 'openvino', threads)
    replace_with_engine(detector, engine)
    network = open_sparse_network(path, engine.metadata, threads)
    if network is not None:
        replace_encoder(detector, network, engine)
    return detector


def runs_of(
    detector: nn.Module, folder: Path, batch: dict, threads: int
) -> dict[str, Callable[[], object]]:
    """Functions from points to boxes, by name."""
    models = {
        FLOAT: detector,
        MIXED: deployed(detector, folder / 'float.onnx', threads),
        INTEGER: deployed(detector, folder / 'integer.onnx', threads),
    }
    return {name: lambda model=model: model.test_step(batch) for name, model in models.items()}


def main() -> None:
    args = parse_args()
    rows = []
    try:
        batches = read_batches(args.points, args.columns)
        detector = random_detector(args.config)
        measure_norms(detector, batches[:1])
        folder = export_files(detector, batches, args)
        for threads in args.threads:
            torch.set_num_threads(threads)
            runs = runs_of(detector, folder, batches[0], threads)
            with torch.no_grad():
                times = medians(runs, args.rounds, args.clock)
            row = dict(threads=str(threads))
            row.update({f'{name} ms': f'{value:.1f}' for name, value in times.items()})
            for name in (FLOAT, MIXED):
                row[f'integers against {name}'] = f'{times[name] / times[INTEGER]:.2f}'
            rows.append(row)
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'\n{format_table(rows)}')
    if args.out:
        write_json(rows, args.out)


if __name__ == '__main__':
    main()
