"""Runs what stands before a sparse encoder: voxels of scans and their features."""

import weakref

import numpy as np

from mmptq.quantization import QuantizationError

from .layer import Kernels, inverse_of
from .library import PillarEncoder, PointLayerC, VoxelGridC, address
from .points import PointEncoder


class PointFeatures:
    """A point encoder, ready to run.

    Args:
        kernels (Kernels): The instruction set.
        encoder (PointEncoder): From a file or a detector.
    """

    def __init__(self, kernels: Kernels, encoder: PointEncoder):
        self.kernels, self.encoder = kernels, encoder
        library = kernels.library
        self._voxels = library.voxels_new()
        weakref.finalize(self, library.voxels_free, self._voxels)
        grid = encoder.grid
        self._grid = VoxelGridC(most_points=grid.most_points, most_voxels=grid.most_voxels)
        self._grid.size[:], self._grid.low[:], self._grid.shape[:] = grid.size, grid.low, grid.shape
        self._arrays = [
            (np.ascontiguousarray(layer.weight), np.ascontiguousarray(layer.bias))
            for layer in encoder.layers
        ]
        self._layers = (PointLayerC * len(encoder.layers))()
        for target, layer, (weight, bias) in zip(
            self._layers, encoder.layers, self._arrays, strict=True
        ):
            target.weight, target.bias = address(weight), address(bias)
            target.inputs, target.outputs = weight.shape
            if not layer.grid.is_float:
                target.scale, target.inverse = layer.grid.scale, inverse_of(layer.grid.scale)
                target.low = layer.grid.low - layer.grid.zero
                target.high = layer.grid.high - layer.grid.zero
        self._pillars = PillarEncoder(
            num_layers=len(encoder.layers),
            cluster_center=encoder.cluster_center,
            voxel_center=encoder.voxel_center,
            replace_xyz=encoder.replace_xyz,
            distance=encoder.distance,
        )
        self._pillars.layers = self._layers
        self._pillars.center_size[:] = encoder.center_size
        self._pillars.center_offset[:] = encoder.center_offset

    def __call__(self, scans: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Voxels of a batch of scans.

        Args:
            scans (list[np.ndarray]): (P, columns) float32 points that begin with x, y, z.

        Returns:
            tuple: (N, channels) float32 features, and (N, 4) int32: batch, z, y, x.

        Raises:
            QuantizationError: If points have too few columns.
        """
        parts = [self._scan(points, number) for number, points in enumerate(scans)]
        if len(parts) == 1:
            return parts[0]
        features, coords = zip(*parts, strict=True)
        return np.concatenate(features), np.concatenate(coords)

    def _scan(self, points: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
        points = np.ascontiguousarray(points, np.float32)
        wanted, exact = self.encoder.columns, bool(self.encoder.layers)
        columns = points.shape[1] if points.ndim == 2 else 0
        if columns < max(wanted, 3) or (exact and columns != wanted):
            raise QuantizationError(
                f'points have the shape {tuple(points.shape)}, and the exported detector takes '
                f'{wanted} numbers of each: load them as the config does that was exported'
            )
        library, grid = self.kernels.library, self._grid
        grid.columns = columns
        count = library.voxelize(self._voxels, grid, address(points), len(points))
        if count < 0:
            raise QuantizationError(
                f'there is not enough memory for the voxels of {len(points)} points: use smaller '
                'scans'
            )
        coords = np.empty((count, 4), np.int32)
        shape = count, self.encoder.channels
        features = self.kernels.memory.empty(shape, np.float32)
        library.voxels_coords(self._voxels, batch, address(coords))
        if exact:
            arguments = self._pillars, address(points), address(features), self.kernels.threads
            library.pillar_features(self.kernels.isa, self._voxels, grid, *arguments)
        else:
            library.point_means(
                self._voxels, grid, address(points), features.shape[1], address(features)
            )
        return features, coords
