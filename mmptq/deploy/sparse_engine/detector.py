"""The sparse engine in the place of a detector's sparse encoder."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.compat.empty_scans import accept_empty_scans
from mmptq.quantization import QuantizationError
from mmptq.utils.detector_parts import VOXEL_ENCODERS

from .file import fingerprint, read_graph, sparse_file_of
from .network import SparseNetwork


def open_sparse_network(
    path: str | Path, metadata: dict[str, Any], threads: int = 0, isa: str | None = None
) -> SparseNetwork | None:
    """The sparse encoder that was exported together with the file of a BEV network.

    Args:
        path (str | Path): The file of the BEV network.
        metadata (dict): Of that file.
        threads (int): 0 stands for the threads of torch.
        isa (str, optional): Instruction set; default is the fastest.

    Returns:
        SparseNetwork: None where the detector has no sparse encoder, or it stayed in PyTorch.

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


def replace_encoder(detector: nn.Module, network: SparseNetwork) -> None:
    """Let the engine compute the sparse encoder of a detector, in place.

    Args:
        detector (nn.Module): Built from the config that the file was exported with.
        network (SparseNetwork): From ``open_sparse_network``.

    Raises:
        QuantizationError: If the detector has no such encoder.
    """
    graph = network.graph
    encoder = getattr(detector, graph.encoder, None)
    shape = getattr(encoder, 'sparse_shape', None)
    if shape is None or tuple(shape) != graph.shape[-len(shape) :]:
        raise QuantizationError(
            f"the config has no '{graph.encoder}' with the grid {list(graph.shape)}: use the "
            'config that the file was exported with'
        )
    accept_empty_scans(detector)  # its hooks stay on the encoder

    def run(voxel_features: Tensor, coors: Tensor, batch_size: int) -> Tensor:
        features = voxel_features.detach().cpu().float().numpy()
        result = network(features, coors.int().cpu().numpy(), int(batch_size))
        batch, channels, depth, height, width = result.shape
        dense = torch.from_numpy(result).to(voxel_features.device)
        return dense.view(batch, channels * depth, height, width)

    encoder._modules.clear()
    encoder.forward = run


def weights_before(detector: nn.Module) -> list[str]:
    """Names of the layers with weights that run before the sparse encoder, in PyTorch."""
    return [
        f'{part}.{name}'
        for part in VOXEL_ENCODERS
        for name, module in getattr(detector, part, nn.Identity()).named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
