"""The sparse engine in the place of what a detector computes before its BEV map."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.compat.empty_scans import accept_empty_scans
from mmptq.deploy.engines import Engine
from mmptq.quantization import QuantizationError
from mmptq.utils.detector_parts import VOXEL_ENCODERS

from .file import fingerprint, read_graph, sparse_file_of
from .layer import InputGrid
from .network import SparseNetwork


def open_sparse_network(
    path: str | Path, metadata: dict[str, Any], threads: int = 0, isa: str | None = None
) -> SparseNetwork | None:
    """The encoder that was exported together with the file of a BEV network.

    Args:
        path (str | Path): The file of the BEV network.
        metadata (dict): Of that file.
        threads (int): 0 stands for the threads of torch.
        isa (str, optional): Instruction set; default is the fastest.

    Returns:
        SparseNetwork: None where the detector has no such encoder, or it stayed in PyTorch.

    Raises:
        QuantizationError: If the file is missing, damaged or of another export, or the engine is
            not compiled.
    """
    known = metadata.get('sparse')
    if known is None:
        return None
    file = sparse_file_of(path)
    graph = read_graph(file)
    if fingerprint(graph) != known['fingerprint']:
        raise QuantizationError(
            f"'{file}' was not exported together with '{path}': export both again with "
            'tools/export.py'
        )
    return SparseNetwork(graph, isa, threads or torch.get_num_threads())


def replace_encoder(
    detector: nn.Module, network: SparseNetwork, engine: Engine | None = None
) -> None:
    """Let the engine compute the encoder of a detector, in place, and its voxels if it can.

    Args:
        detector (nn.Module): Built from the config that the file was exported with.
        network (SparseNetwork): From ``open_sparse_network``.
        engine (Engine, optional): Runs what follows; gets integers where it takes them.

    Raises:
        QuantizationError: If the detector has no such encoder.
    """
    graph = network.graph
    encoder = getattr(detector, graph.encoder, None)
    shape = getattr(encoder, 'sparse_shape', None) or getattr(encoder, 'output_shape', None)
    if shape is None or tuple(shape) != graph.shape[-len(shape) :]:
        raise QuantizationError(
            f"the config has no '{graph.encoder}' with the grid {list(graph.shape)}: use the "
            'config that the file was exported with'
        )
    accept_empty_scans(detector)  # its hooks stay on the encoder
    if graph.points is not None:
        _replace_voxels(detector, network)
    integers = None if engine is None else engine.take_bytes()
    if integers is not None:
        network.output_grid = InputGrid(*integers, 0, 255)

    def run(voxel_features: Tensor, coors: Tensor, batch_size: int) -> Tensor:
        features = voxel_features.detach().cpu().float().numpy()
        result = network(features, coors.int().cpu().numpy(), int(batch_size))
        dense = torch.from_numpy(result).to(voxel_features.device)
        if network.output_grid is not None:
            return dense
        batch, channels, depth, height, width = result.shape
        return dense.view(batch, channels * depth, height, width)

    encoder._modules.clear()
    encoder.forward = run


def _replace_voxels(detector: nn.Module, network: SparseNetwork) -> None:
    """Let the engine make voxels and their features."""
    points_of = network.points

    @torch.no_grad()
    def voxelize(points: list[Tensor], data_samples: Any) -> dict[str, Tensor]:
        features, coords = points_of([scan.detach().cpu().float().numpy() for scan in points])
        device = points[0].device
        return dict(
            voxels=torch.from_numpy(features).to(device),
            coors=torch.from_numpy(coords).to(device),
            num_points=torch.ones(len(coords), dtype=torch.int32, device=device),
        )

    detector.data_preprocessor.voxelize = voxelize
    for name in VOXEL_ENCODERS:
        module = getattr(detector, name, None)
        if module is not None:
            module._modules.clear()
            module.forward = lambda features, *args, **kwargs: features


def weights_before(detector: nn.Module) -> list[str]:
    """Names of the layers with weights that run before the sparse encoder, in PyTorch."""
    return [
        f'{part}.{name}'
        for part in VOXEL_ENCODERS
        for name, module in getattr(detector, part, nn.Identity()).named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
