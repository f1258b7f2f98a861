"""Runs the sparse encoder of a file."""

import threading
from collections.abc import Callable

import numpy as np

from mmptq.quantization import QuantizationError

from .geometry import STRIDED
from .graph import SparseGraph, SparseLayer
from .layer import InputGrid, Kernels, PackedLayer
from .library import address, load_library
from .point_features import PointFeatures
from .sites import NeighbourLists, SiteSet


class SparseNetwork:
    """A sparse encoder, ready to run.

    Args:
        graph (SparseGraph): The layers.
        isa (str, optional): Instruction set; default is the fastest of this processor.
        threads (int): Defaults to 1. Results do not depend on it.

    Attributes:
        points (PointFeatures, optional): Makes voxels of scans, where the graph says how.
        output_grid (InputGrid, optional): Makes a call give integers of this grid, of 8 bits.

    Raises:
        QuantizationError: If the engine is not compiled or does not have the instruction set.
    """

    def __init__(self, graph: SparseGraph, isa: str | None = None, threads: int = 1):
        self.graph = graph
        self.kernels = Kernels(load_library(), isa, threads)
        self.packed = [
            PackedLayer(self.kernels, layer.weight, layer.scale, layer.bias, layer.grid)
            for layer in graph.layers
        ]
        self.points = graph.points and PointFeatures(self.kernels, graph.points)
        self.output_grid: InputGrid | None = None
        self._batch = 0
        self._sites: dict[int, SiteSet] = {}
        self._lists: dict[tuple, NeighbourLists] = {}
        self._order = np.empty(0, np.int32)
        self._lock = threading.Lock()

    def __call__(self, features: np.ndarray, coords: np.ndarray, batch: int) -> np.ndarray:
        """The dense map of a batch of scans.

        Args:
            features (np.ndarray): (N, C) float32 voxel features.
            coords (np.ndarray): (N, 3 or 4) int32: batch, (z,) y, x.
            batch (int): Scans in the batch.

        Returns:
            np.ndarray: (batch, channels, z, y, x) float32; with an ``output_grid`` (batch, y, x,
            channels * z) uint8.

        Raises:
            QuantizationError: If shapes do not fit or a voxel is outside of the grid.
        """
        with self._lock:
            self.find_neighbours(coords, batch)
            return self.compute(features)

    def find_neighbours(self, coords: np.ndarray, batch: int) -> None:
        """Sites and neighbours of all layers for a batch of scans; see ``__call__``."""
        self._reserve(batch)
        self._order = self._sites[0].fill(_four(coords))
        done = set()
        for layer in self.graph.layers:
            if layer.geometry.kind == STRIDED:
                target = self._sites[layer.target_sites]
                source = self._sites[layer.source_sites]
                target.reach(source, layer.geometry, self.kernels.threads)
            if layer.lists_key not in done:
                done.add(layer.lists_key)
                self._lists[layer.lists_key].build(self.kernels.isa, self.kernels.threads)

    def _reserve(self, batch: int) -> None:
        """Grids for a batch; those of the last batch where it was as large."""
        if batch == self._batch:
            return
        library = self.kernels.library
        shapes = self.graph.shapes()
        self._sites = {number: SiteSet(library, batch, shape) for number, shape in shapes.items()}
        self._lists = {
            layer.lists_key: NeighbourLists(
                library,
                layer.geometry,
                self._sites[layer.source_sites],
                self._sites[layer.target_sites],
            )
            for layer in self.graph.layers
        }
        self._batch = batch

    def compute(
        self,
        features: np.ndarray,
        watch: Callable[[SparseLayer, np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """The dense map of features on the sites of ``find_neighbours``; see ``__call__``.

        Args:
            features (np.ndarray): (N, C) float32.
            watch (Callable, optional): Called with each layer and the rows that it takes.
        """
        if features.shape != (len(self._order), self.graph.in_channels):
            raise QuantizationError(
                f'{len(self._order)} voxels have features of shape {tuple(features.shape)}, and '
                f"'{self.graph.encoder}' takes {self.graph.in_channels} channels: export from the "
                'config that the scans are made with'
            )
        rows = {
            (0, grid): self.kernels.quantize(features, grid, self._order, self._gives(0, grid))
            for grid in self._grids(0)
        }
        floats: dict[int, np.ndarray] = {}
        if self._adds(0) or (self.graph.output == 0 and self.output_grid is None):
            floats[0] = self.kernels.quantize(features, InputGrid(), self._order)
        for number, layer in enumerate(self.graph.layers):
            if watch is not None:
                watch(layer, rows[layer.source, layer.grid])
            self.run_layer(number, rows, floats)
            self._forget(number, rows, floats)
        if self.output_grid is not None:
            return self._to_bytes(rows[self.graph.output, self.output_grid])
        return self.to_dense(floats[self.graph.output])

    def _grids(self, value: int) -> list[InputGrid]:
        """Grids in which a value is wanted."""
        grids = dict.fromkeys(reader.grid for reader in self.graph.readers(value))
        if self.output_grid is not None and value == self.graph.output:
            grids[self.output_grid] = None
        return list(grids)

    def _gives(self, value: int, grid: InputGrid) -> bool:
        """Whether rows of a grid are those that the network gives."""
        return value == self.graph.output and grid is self.output_grid

    def _adds(self, value: int) -> bool:
        """Whether a value is a residual."""
        return any(layer.residual == value for layer in self.graph.layers)

    def run_layer(
        self,
        number: int,
        rows: dict[tuple[int, InputGrid], np.ndarray],
        floats: dict[int, np.ndarray],
    ) -> None:
        """Compute a layer on the sites of ``find_neighbours``.

        Args:
            number (int): Which layer.
            rows (dict): Rows by value and grid; gets those of the output.
            floats (dict): Float features by value; gets those of the output where they are used.
        """
        layer = self.graph.layers[number]
        grids = self._grids(layer.output)
        integer = [grid for grid in grids if not grid.is_float]
        wanted = self._adds(layer.output) or len(grids) != 1 or not integer
        y, q = self.packed[number](
            rows[layer.source, layer.grid],
            self._lists[layer.lists_key],
            layer.relu,
            None if layer.residual is None else floats[layer.residual],
            integer[0] if integer else None,
            wanted,
            bool(integer) and self._gives(layer.output, integer[0]),
        )
        if q is not None:
            rows[layer.output, integer[0]] = q
        if y is not None:
            floats[layer.output] = y
        for grid in grids:
            if (layer.output, grid) not in rows:
                byte_rows = self._gives(layer.output, grid)
                rows[layer.output, grid] = (
                    y if grid.is_float else self.kernels.quantize(y, grid, byte_rows=byte_rows)
                )

    def _forget(self, number: int, rows: dict, floats: dict) -> None:
        """Drop what no later layer takes."""
        later = self.graph.layers[number + 1 :]
        taken = {layer.source for layer in later} | {self.graph.output}
        added = {layer.residual for layer in later} | {self.graph.output}
        for key in [key for key in rows if key[0] not in taken]:
            del rows[key]
        for value in [value for value in floats if value not in added]:
            del floats[value]

    def to_dense(self, features: np.ndarray) -> np.ndarray:
        """The map (batch, channels, z, y, x) of the features of the last layer."""
        sites = self._sites[self.graph.output_sites]
        shape = sites.batch, features.shape[1], *sites.shape
        result = self.kernels.memory.empty(shape, np.float32)
        self.kernels.library.dense(
            sites.handle,
            address(features),
            features.shape[1],
            address(result),
            self.kernels.threads,
        )
        return result

    def _to_bytes(self, rows: np.ndarray) -> np.ndarray:
        """The map (batch, y, x, channels * z) of rows of the output grid."""
        sites, grid = self._sites[self.graph.output_sites], self.output_grid
        depth, height, width = sites.shape
        shape = sites.batch, height, width, self.graph.out_channels * depth
        result = self.kernels.memory.empty(shape, np.uint8)
        self.kernels.library.dense_bytes(
            sites.handle,
            address(rows),
            rows.shape[1],
            self.graph.out_channels,
            grid.zero + grid.shift,
            address(result),
            self.kernels.threads,
        )
        return result

    def coords(self, sites: int) -> np.ndarray:
        """(N, 4) coordinates of a set of sites, in the order of its rows."""
        return self._sites[sites].coords()


def _four(coords: np.ndarray) -> np.ndarray:
    """Coordinates with a z of 0 where there is none."""
    if coords.ndim != 2 or coords.shape[1] not in (3, 4):
        raise QuantizationError(
            f'coordinates have the shape {tuple(coords.shape)}: give (N, 4) of batch, z, y, x'
        )
    if coords.shape[1] == 4:
        return coords
    return np.insert(coords, 1, 0, axis=1)
