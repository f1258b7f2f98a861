"""Writes the sparse encoder of a detector as a file, after a check against the simulation."""

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
from .library import load_library
from .network import SparseNetwork
from .parity import check_layers, measure_layers, recorded_calls
from .walk import find_sparse_encoder, read_encoder


class SparseExport:
    """The sparse encoder of a detector on its way into a file.

    Args:
        detector (nn.Module): Quantized and frozen, in eval mode.
        name (str): Attribute name of its sparse encoder.
        metadata (dict): Plain data to store in the file.

    Raises:
        QuantizationError: For a layer that the engine has not, before any work.
    """

    def __init__(self, detector: nn.Module, name: str, metadata: dict[str, Any]):
        self.encoder = getattr(detector, name)
        self.graph = read_encoder(self.encoder, name, self.encoder.sparse_shape, metadata)
        self._calls: list[dict] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the first scans that the detector sees are kept for the check."""
        names = {
            module: f'{self.graph.encoder}.{name}'
            for name, module in self.encoder.named_modules()
            if isinstance(module, SPARSE_CONVS)
        }
        with recorded_calls(self.encoder, names) as self._calls:
            yield

    def check(self) -> list[dict[str, Any]]:
        """Compare each layer with the simulation; returns the parity table.

        Raises:
            QuantizationError: If one differs by more than rounding explains.
        """
        results = measure_layers(SparseNetwork(self.graph), self._calls)
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
    """The export of the sparse part of a detector, where it has one and the engine is compiled.

    Args:
        detector (nn.Module): Quantized and frozen, in eval mode.
        metadata (dict): Plain data to store in the file.
    """
    name = find_sparse_encoder(detector)
    if name is None:
        return None
    try:
        load_library()
    except QuantizationError as error:
        MMLogger.get_current_instance().warning(f"'{name}' stays in PyTorch, because {error}")
        return None
    return SparseExport(detector, name, metadata)
