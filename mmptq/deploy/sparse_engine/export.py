"""Writes the encoder of a LiDAR detector as a file, after a check against the simulation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from torch import nn

from mmptq.quantization import QuantizationError
from mmptq.quantization.layers.sparse import SPARSE_CONVS
from mmptq.report import format_table

from .file import fingerprint, sparse_file_of, write_graph
from .graph import SparseGraph
from .library import load_library
from .network import SparseNetwork
from .parity import check_layers, measure_layers, recorded_calls
from .points_parity import check_points, recorded_scans
from .read_points import read_pillars, read_points
from .walk import find_sparse_encoder, read_encoder


class SparseExport:
    """The encoder of a detector on its way into a file.

    Args:
        detector (nn.Module): Quantized and frozen, in eval mode.
        graph (SparseGraph): What was read from it.
    """

    def __init__(self, detector: nn.Module, graph: SparseGraph):
        self.detector, self.graph = detector, graph
        self.encoder = getattr(detector, graph.encoder)
        self._calls: list[dict] = []
        self._scans: list[dict] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the first scans that the detector sees are kept for the check."""
        names = {
            module: f'{self.graph.encoder}.{name}'
            for name, module in self.encoder.named_modules()
            if isinstance(module, SPARSE_CONVS)
        }
        with (
            recorded_calls(self.encoder, names) as self._calls,
            recorded_scans(self.detector, self.encoder) as self._scans,
        ):
            yield

    def check(self) -> list[dict[str, Any]]:
        """Compare each layer with the simulation; returns the parity table.

        Raises:
            QuantizationError: If one differs by more than rounding explains.
        """
        network = SparseNetwork(self.graph)
        results = measure_layers(network, self._calls)
        if network.points is not None:
            name = self.graph.encoder.replace('middle_encoder', 'voxel_encoder')
            results.insert(0, check_points(network.points, self._scans, name))
        rows = [result.row() for result in results]
        integer, floating = self.graph.count_layers()
        MMLogger.get_current_instance().info(
            f'sparse engine: {integer} layers run in integers, {floating} in float\n'
            f'{format_table(rows)}'
        )
        check_layers(results)
        return rows

    def write(self, path: str | Path) -> Path:
        """Write the file beside that of the BEV network; returns where."""
        target = sparse_file_of(path)
        write_graph(self.graph, target)
        return target

    def describe(self) -> dict[str, str]:
        """What the file of the BEV network says about this one."""
        return dict(encoder=self.graph.encoder, fingerprint=fingerprint(self.graph))


def plan_sparse_export(detector: nn.Module, metadata: dict[str, Any]) -> SparseExport | None:
    """The export of what a LiDAR detector computes before its BEV map.

    Args:
        detector (nn.Module): Quantized and frozen, in eval mode.
        metadata (dict): Plain data to store in the file.

    Returns:
        SparseExport: None where the detector has neither a sparse encoder nor pillars that the
        engine knows, or the engine is not compiled.

    Raises:
        QuantizationError: For a sparse layer that the engine has not, before any work.
    """
    graph = _read(detector, metadata)
    if graph is None:
        return None
    try:
        load_library()
    except QuantizationError as error:
        MMLogger.get_current_instance().warning(
            f"'{graph.encoder}' stays in PyTorch, because {error}"
        )
        return None
    return SparseExport(detector, graph)


def _read(detector: nn.Module, metadata: dict[str, Any]) -> SparseGraph | None:
    name = find_sparse_encoder(detector)
    if name is None:
        return read_pillars(detector, metadata)
    encoder = getattr(detector, name)
    graph = read_encoder(encoder, name, encoder.sparse_shape, metadata)
    graph.points = read_points(detector, name)
    if graph.points is not None and graph.points.channels != graph.in_channels:
        graph.points = None
    return graph
