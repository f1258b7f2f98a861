"""Voxel detectors on scans from files, for benchmark_sparse.py and benchmark_lidar_deployed.py."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from mmptq.deploy.sparse_engine import SparseLayer, find_sparse_encoder, read_encoder
from mmptq.deploy.sparse_engine.layer import InputGrid
from mmptq.deploy.sparse_engine.parity import recorded_calls
from mmptq.engine.build import build_model
from mmptq.quantization import QuantizationError
from mmptq.quantization.layers.sparse import SPARSE_CONVS
from mmptq.utils.cli import read_config, require_file

CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what runs on which scans, and how it is timed."""
    parser.add_argument('config', help='config of a LiDAR detector')
    parser.add_argument(
        '--points', nargs='+', required=True, help='scans: .bin files of float32 rows'
    )
    parser.add_argument('--columns', type=int, default=4, help='of a row (nuScenes has 5)')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--rounds', type=int, default=11, help='timed runs, in turns')
    parser.add_argument(
        '--clock',
        choices=list(CLOCKS),
        default='wall',
        help='cpu counts the time of the process alone: for one thread on a busy machine',
    )
    parser.add_argument('--out', help='JSON file for the table')


def random_detector(path: str) -> nn.Module:
    """The detector of a config in eval mode, with seeded weights."""
    cfg = read_config(path)
    torch.manual_seed(0)
    return build_model(cfg).eval()


def read_batches(paths: list[str], columns: int) -> list[dict]:
    """Scans as the data loader of a detector yields them, one a batch."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    batches = []
    for path in paths:
        require_file(path, 'scan')
        numbers = np.fromfile(path, np.float32)
        if numbers.size % columns:
            raise QuantizationError(f"'{path}' has no rows of {columns} numbers: give --columns")
        points = torch.from_numpy(numbers.reshape(-1, columns))
        sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, lidar_path=path))
        batches.append(dict(inputs=dict(points=[points]), data_samples=[sample]))
    return batches


@torch.no_grad()
def measure_norms(detector: nn.Module, batches: list[dict]) -> None:
    """Replace the statistics of BatchNorms by those of the scans: values stay sane with depth."""
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # average
        norm.train()
    for batch in batches:
        detector.test_step(batch)
    detector.eval()


class EncoderCase:
    """The sparse encoder of a detector, in float and in integers, on one scan.

    Args:
        detector (nn.Module): Float, in eval mode.
        batch (dict): The scan.

    Attributes:
        arguments (tuple[Tensor, Tensor, int]): What enters the encoder.
        inputs (list): The sparse tensor that enters each convolution.
        graph (SparseGraph): The layers in integers.
    """

    def __init__(self, detector: nn.Module, batch: dict):
        name = find_sparse_encoder(detector)
        if name is None:
            raise QuantizationError(f'{type(detector).__name__} has no sparse encoder')
        self.encoder = getattr(detector, name)
        convs = {m: n for n, m in self.encoder.named_modules() if isinstance(m, SPARSE_CONVS)}
        seen = {}
        hooks = [
            conv.register_forward_pre_hook(lambda m, args: seen.update({m: _copy(args[0])}))
            for conv in convs
        ]
        names = {conv: f'{name}.{path}' for conv, path in convs.items()}
        with torch.no_grad(), recorded_calls(self.encoder, names, 1) as calls:
            detector.test_step(batch)
        for hook in hooks:
            hook.remove()
        (call,) = calls
        self.arguments = (
            torch.from_numpy(call['features']),
            torch.from_numpy(call['coords']).int(),
            call['batch'],
        )
        self.graph = read_encoder(self.encoder, name, self.encoder.sparse_shape)
        by_name = {names[conv]: conv for conv in convs}
        self.convs = [by_name[layer.name] for layer in self.graph.layers]
        self.inputs = [seen[conv] for conv in self.convs]
        for number, layer in enumerate(self.graph.layers):
            _to_integers(layer, self.inputs[number].features.numpy(), 8 if number else 16)


def _copy(tensor):
    return tensor.replace_feature(tensor.features.clone())


def _to_integers(layer: SparseLayer, features: np.ndarray, bits: int) -> None:
    """Min-max ranges for a float layer, in place."""
    weight = layer.weight * layer.scale[:, None, None]
    scale = np.maximum(np.abs(weight).max((1, 2)), 1e-10) / 127
    layer.weight = np.rint(weight / scale[:, None, None]).astype(np.int8)
    layer.scale = scale.astype(np.float32)
    low, high = min(float(features.min()), 0.0), max(float(features.max()), 1e-6)
    step, most = (high - low) / (2**bits - 1), 2**bits - 1
    layer.grid = InputGrid(step, round(-low / step), 0, most)


@contextmanager
def known_pairs() -> Iterator[list[float]]:
    """Within this context spconv finds the neighbours of a tensor once; the list gets the times."""
    import spconv.pytorch.ops as ops

    search, memory, times = ops.get_indice_pairs, {}, []

    def remembered(indices: Tensor, *args, **kwargs) -> tuple:
        key = indices.data_ptr(), str(args), str(kwargs)
        if key not in memory:
            start = time.perf_counter()
            memory[key] = (indices, search(indices, *args, **kwargs))  # keeps the address taken
            times.append(time.perf_counter() - start)
        return memory[key][1]

    ops.get_indice_pairs = remembered
    try:
        yield times
    finally:
        ops.get_indice_pairs = search


def medians(runs: dict[str, Callable[[], object]], rounds: int, clock: str) -> dict[str, float]:
    """Milliseconds of functions that run in turns: the median after one that warms up."""
    now, times = CLOCKS[clock], {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = now()
            run()
            times[name].append(1e3 * (now() - start))
    return {name: median(values[1:]) for name, values in times.items()}
