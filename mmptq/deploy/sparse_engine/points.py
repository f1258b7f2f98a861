"""From the points of a scan to the features of its voxels, as plain data."""

from dataclasses import dataclass, field

import numpy as np

from .layer import InputGrid

# Of pillars.hpp.
WIDEST_POINT = 256
MOST_POINTS = 128


@dataclass(frozen=True)
class VoxelGrid:
    """How a scan is cut into voxels; triples go along x, y and z.

    Args:
        size (tuple[float, float, float]): Of a voxel, metres.
        low (tuple[float, float, float]): Where the grid begins, metres.
        shape (tuple[int, int, int]): Voxels.
        most_points (int): Of a voxel; later ones are dropped.
        most_voxels (int): Of a scan; later ones are dropped.
    """

    size: tuple[float, float, float]
    low: tuple[float, float, float]
    shape: tuple[int, int, int]
    most_points: int
    most_voxels: int


@dataclass
class PointLayer:
    """A linear layer with a ReLU on every point of a pillar, BatchNorm folded.

    Args:
        name (str): Module path.
        weight (np.ndarray): (in, out) float32.
        bias (np.ndarray): (out,) float32.
        grid (InputGrid): Integers that its input is rounded to.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    grid: InputGrid


@dataclass
class PointEncoder:
    """What makes the features of a voxel of its points: their mean, or a pillar encoder.

    Args:
        grid (VoxelGrid): The voxels.
        columns (int): Of the points that it takes, from the first one on.
        layers (list[PointLayer]): Of a pillar encoder; empty for the mean.
        cluster_center (bool): Whether offsets from the mean of the points are features.
        voxel_center (bool): Whether offsets from the centre of the voxel are features.
        replace_xyz (bool): Whether these take the place of x, y and z, too.
        distance (bool): Whether the distance is a feature.
        center_size (tuple[float, float, float]): The centre of a voxel is its coordinate times
            this ...
        center_offset (tuple[float, float, float]): ... plus this.
    """

    grid: VoxelGrid
    columns: int
    layers: list[PointLayer] = field(default_factory=list)
    cluster_center: bool = False
    voxel_center: bool = False
    replace_xyz: bool = False
    distance: bool = False
    center_size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    center_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def channels(self) -> int:
        """Features of a voxel."""
        return self.layers[-1].weight.shape[1] if self.layers else self.columns

    @property
    def decorated(self) -> int:
        """Features of a point before the first layer."""
        return self.columns + 3 * (self.cluster_center + self.voxel_center) + self.distance

    def problem(self) -> str | None:
        """Why the kernels cannot run it; None where they can."""
        width = self.decorated
        for number, layer in enumerate(self.layers):
            if layer.weight.shape != (width, len(layer.bias)):
                return (
                    f"layer '{layer.name}' takes {len(layer.weight)} features in place of {width}"
                )
            last = number == len(self.layers) - 1
            width = len(layer.bias) * (1 if last else 2)
            if max(len(layer.weight), width) > WIDEST_POINT:
                return f'a point has more than {WIDEST_POINT} features'
        if self.layers and self.grid.most_points > MOST_POINTS:
            return f'a pillar may have more than {MOST_POINTS} points'
        if min(self.grid.shape) < 1 or min(self.grid.most_points, self.grid.most_voxels) < 1:
            return 'the number of voxels and of their points must be limited'
        if np.prod(self.grid.shape, dtype=np.float64) >= 2**31:
            return 'the grid has 2^31 cells or more'
        return None
