"""A sparse encoder as plain data: its layers in order, and which values they take and give."""

from dataclasses import dataclass, field

import numpy as np

from .geometry import STRIDED, KernelGeometry
from .layer import InputGrid
from .points import PointEncoder


@dataclass
class SparseLayer:
    """One convolution with all that is computed together with it.

    Values are numbered; 0 is the input of the encoder. Sets of sites are numbered, too.

    Args:
        name (str): Module path.
        geometry (KernelGeometry): Kernel.
        weight (np.ndarray): (out, offsets, in): int8, or float32 for a float layer.
        scale (np.ndarray): (out,) float32, step of the weights.
        bias (np.ndarray): (out,) float32.
        grid (InputGrid): Integers of the input.
        source (int): Value that is convolved.
        output (int): Value that the layer gives.
        source_sites (int): Sites of the input.
        target_sites (int): Sites of the output.
        indice_key (str, optional): Name under which spconv shares neighbours.
        residual (int, optional): Value that is added before the ReLU.
        relu (bool): Whether a ReLU follows.
    """

    name: str
    geometry: KernelGeometry
    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    grid: InputGrid
    source: int
    output: int
    source_sites: int
    target_sites: int
    indice_key: str | None = None
    residual: int | None = None
    relu: bool = False

    @property
    def lists_key(self) -> tuple:
        """Layers with the same key share their neighbours."""
        return self.geometry, self.source_sites, self.target_sites


@dataclass
class SparseGraph:
    """What a detector computes before its BEV map.

    Args:
        encoder (str): Module path of the encoder.
        shape (tuple[int, int, int]): Grid of the input along z, y and x.
        in_channels (int): Of the voxel features.
        layers (list[SparseLayer]): In order of execution; none where the features of pillars are
            the map.
        metadata (dict): Plain data about the origin.
        points (PointEncoder, optional): Makes voxels of points; None leaves that to the detector.
    """

    encoder: str
    shape: tuple[int, int, int]
    in_channels: int
    layers: list[SparseLayer] = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    points: PointEncoder | None = None

    @property
    def output(self) -> int:
        """Value that becomes the dense map."""
        return self.layers[-1].output if self.layers else 0

    @property
    def out_channels(self) -> int:
        """Channels of that value."""
        return len(self.layers[-1].weight) if self.layers else self.in_channels

    @property
    def output_sites(self) -> int:
        """Sites of that value."""
        return self.layers[-1].target_sites if self.layers else 0

    def shapes(self) -> dict[int, tuple[int, int, int]]:
        """Grid of each set of sites."""
        shapes = {0: tuple(self.shape)}
        for layer in self.layers:
            if layer.geometry.kind == STRIDED:
                shapes[layer.target_sites] = layer.geometry.output_shape(shapes[layer.source_sites])
        return shapes

    def readers(self, value: int) -> list[SparseLayer]:
        """Layers that convolve a value."""
        return [layer for layer in self.layers if layer.source == value]

    def count_layers(self) -> tuple[int, int]:
        """Layers that run in integers, and in float."""
        layers = [*self.layers, *(self.points.layers if self.points else ())]
        floating = sum(layer.grid.is_float for layer in layers)
        return len(layers) - floating, floating
