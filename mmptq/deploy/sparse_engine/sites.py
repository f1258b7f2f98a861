"""Active sites of a scan and the neighbours of each, as the kernels want them."""

import weakref

import numpy as np

from mmptq.quantization import QuantizationError

from .geometry import KernelGeometry
from .library import Geometry, Library, address, int32_pointers

# One bit for each cell, and the row of the first of 64: 0.5 GiB at most.
MOST_CELLS = 2**31


class SiteSet:
    """Active sites of a grid, in the order of batch, z, y, x.

    Args:
        library (Library): The kernels.
        batch (int): Scans in a batch.
        shape (tuple[int, int, int]): Cells along z, y and x.

    Raises:
        QuantizationError: If the grid is too large.
    """

    def __init__(self, library: Library, batch: int, shape: tuple[int, int, int]):
        cells = batch * int(np.prod(shape, dtype=np.int64))
        self.handle = None
        if 0 < cells <= MOST_CELLS:
            self.handle = library.sites_new(address(np.array([batch, *shape], np.int64)))
        if self.handle is None:
            raise QuantizationError(
                f'a grid of {batch} x {" x ".join(map(str, shape))} cells does not fit the sparse '
                f'engine, which takes {MOST_CELLS} at most: use larger voxels or a smaller batch'
            )
        weakref.finalize(self, library.sites_free, self.handle)
        self.library, self.batch, self.shape = library, batch, tuple(shape)
        self._targets: dict[tuple, list[np.ndarray]] = {}

    def fill(self, coords: np.ndarray) -> np.ndarray:
        """Take the sites of a batch.

        Args:
            coords (np.ndarray): (N, 4) int32: batch, z, y, x.

        Returns:
            np.ndarray: (N,) int32, the row of each given site.

        Raises:
            QuantizationError: If a site is outside of the grid or comes twice.
        """
        coords = np.ascontiguousarray(coords, np.int32)
        rows = np.empty(len(coords), np.int32)
        bad = self.library.sites_fill(self.handle, address(coords), len(coords), address(rows))
        if bad >= len(coords):
            place = ', '.join(map(str, coords[bad - len(coords)]))
            raise QuantizationError(
                f'voxel (batch, z, y, x) = ({place}) comes twice: each voxel must come once'
            )
        if bad >= 0:
            place = ', '.join(map(str, coords[bad]))
            raise QuantizationError(
                f'voxel (batch, z, y, x) = ({place}) is outside of the grid of {self.batch} x '
                f'{" x ".join(map(str, self.shape))} cells: give the voxel layer and the sparse '
                'encoder the same range and voxel size'
            )
        return rows

    def reach(self, source: 'SiteSet', geometry: KernelGeometry, threads: int = 1) -> None:
        """Take the output sites of a strided convolution on other sites."""
        if (geometry, source.shape) not in self._targets:
            self._targets[geometry, source.shape] = geometry.targets(source.shape, self.shape)
        tables = self._targets[geometry, source.shape]
        kernel = np.array(geometry.kernel, np.int64)
        self.library.sites_reach(
            self.handle, source.handle, address(kernel), int32_pointers(tables), threads
        )

    def __len__(self) -> int:
        return self.library.sites_count(self.handle)

    def coords(self) -> np.ndarray:
        """(N, 4) int32: batch, z, y, x."""
        coords = np.empty((len(self), 4), np.int32)
        self.library.sites_coords(self.handle, address(coords))
        return coords


class NeighbourLists:
    """For each output site and kernel offset the input row, where there is one.

    Args:
        library (Library): The kernels.
        geometry (KernelGeometry): The layers that share the lists.
        source (SiteSet): Input sites.
        target (SiteSet): Output sites.
    """

    def __init__(
        self, library: Library, geometry: KernelGeometry, source: SiteSet, target: SiteSet
    ):
        self.library, self.geometry = library, geometry
        self.source, self.target = source, target
        self.handle = library.lists_new()
        weakref.finalize(self, library.lists_free, self.handle)
        self._tables = geometry.sources(source.shape, target.shape)
        self._geometry = Geometry()
        self._geometry.kernel[:] = geometry.kernel
        self._geometry.source[:] = list(int32_pointers(self._tables))
        self._geometry.extent[:] = target.shape
        self._windows = geometry.windows(source.shape, target.shape)
        if self._windows is not None:
            self._geometry.first, self._geometry.inside = map(address, self._windows)

    def build(self, isa: int, threads: int) -> int:
        """Find the neighbours of the sites as they are now; returns the number of pairs."""
        pairs = self.library.lists_build(
            isa, self.handle, self._geometry, self.target.handle, self.source.handle, threads
        )
        if pairs < 0:
            raise QuantizationError(
                f'there is not enough memory for the neighbours of {len(self.target)} sites: use '
                'fewer scans at a time'
            )
        return pairs

    def table(self) -> np.ndarray:
        """(offsets, output sites) int32: input rows, -1 where there is no site."""
        table = np.empty((self.geometry.offsets, len(self.target)), np.int32)
        self.library.lists_table(self.handle, address(table))
        return table
