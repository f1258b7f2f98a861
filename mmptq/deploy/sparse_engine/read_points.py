"""The point encoder of a detector, from its modules."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmptq.quantization import FakeQuantizer, QuantizationError
from mmptq.utils.detector_parts import VOXEL_ENCODERS

from .graph import SparseGraph
from .layer import InputGrid
from .points import PointEncoder, PointLayer, VoxelGrid


def read_points(detector: nn.Module, middle: str) -> PointEncoder | None:
    """What makes voxel features of points, where the engine can do that.

    Args:
        detector (nn.Module): Of mmdet3d, in eval mode.
        middle (str): Attribute name of its middle encoder.

    Returns:
        PointEncoder: None where voxels are not those of a hard voxel layer, or another kind of
            module encodes them.
    """
    module = getattr(detector, _voxel_encoder(middle), None)
    grid = _voxel_grid(detector)
    if grid is None:
        return None
    if _is(module, 'HardSimpleVFE'):
        found = PointEncoder(grid, module.num_features)
    elif _is(module, 'PillarFeatureNet'):
        found = pillar_encoder(module, grid, _voxel_encoder(middle))
    else:
        return None
    return found if found is not None and found.problem() is None else None


def read_pillars(detector: nn.Module, metadata: dict[str, Any]) -> SparseGraph | None:
    """The encoder of a pillar detector: no convolutions, the features of the pillars are the map.

    Args:
        detector (nn.Module): Of mmdet3d, in eval mode.
        metadata (dict): Plain data about the origin.
    """
    for name, module in detector.named_children():
        if _is(module, 'PointPillarsScatter'):
            points = read_points(detector, name)
            if points is None or points.channels != module.in_channels:
                return None
            shape = (1, int(module.ny), int(module.nx))
            return SparseGraph(name, shape, points.channels, [], metadata, points)
    return None


def _is(module: nn.Module | None, name: str) -> bool:
    """Whether a module is of a class of mmdet3d, which need not be installed."""
    return type(module).__name__ == name and type(module).__module__.startswith('mmdet3d.')


def _voxel_encoder(middle: str) -> str:
    """Attribute name of the voxel encoder beside a middle encoder."""
    name = middle.replace('middle_encoder', 'voxel_encoder')
    return name if name in VOXEL_ENCODERS else ''


def _voxel_grid(detector: nn.Module) -> VoxelGrid | None:
    preprocessor = getattr(detector, 'data_preprocessor', None)
    layer = getattr(preprocessor, 'voxel_layer', None)
    if getattr(preprocessor, 'voxel_type', None) != 'hard' or layer is None:
        return None
    most_voxels = layer.max_voxels
    if isinstance(most_voxels, (tuple, list)):
        most_voxels = most_voxels[1]  # of an evaluation
    return VoxelGrid(
        tuple(map(float, layer.voxel_size)),
        tuple(map(float, layer.point_cloud_range[:3])),
        tuple(int(n) for n in layer.grid_shape),
        int(layer.max_num_points),
        int(most_voxels),
    )


def pillar_encoder(module: nn.Module, grid: VoxelGrid, name: str) -> PointEncoder | None:
    """Layers of mmdet3d's ``PillarFeatureNet``.

    Args:
        module (nn.Module): In eval mode.
        grid (VoxelGrid): The voxels that it takes.
        name (str): Its module path.

    Returns:
        PointEncoder: None where a layer computes something else.
    """
    layers = []
    for number, layer in enumerate(module.pfn_layers):
        if layer.mode != 'max':
            return None
        found = _point_layer(layer, f'{name}.pfn_layers.{number}.linear')
        if found is None:
            return None
        layers.append(found)
    decorations = dict(
        cluster_center=bool(module._with_cluster_center),
        voxel_center=bool(module._with_voxel_center),
        distance=bool(module._with_distance),
    )
    columns = module.in_channels - 3 * (decorations['cluster_center'] + decorations['voxel_center'])
    return PointEncoder(
        grid,
        columns - decorations['distance'],
        layers,
        **decorations,
        replace_xyz=bool(module.legacy and module._with_voxel_center),
        center_size=(float(module.vx), float(module.vy), float(module.vz)),
        center_offset=tuple(
            float(offset) for offset in (module.x_offset, module.y_offset, module.z_offset)
        ),
    )


@torch.no_grad()
def _point_layer(layer: nn.Module, name: str) -> PointLayer | None:
    """A layer of mmdet3d's pillar encoder; None where something else stands in it."""
    linear, norm = layer.linear, layer.norm
    if not isinstance(linear, nn.Linear) or not isinstance(norm, (nn.BatchNorm1d, nn.Identity)):
        return None
    if getattr(linear, 'input_multiplier', None) is not None:
        return None
    weight, grid = linear.weight, InputGrid()
    quantizer = getattr(linear, 'weight_quantizer', None)
    if isinstance(quantizer, FakeQuantizer):
        weight = quantizer(weight)
        grid = _input_grid(linear)
        if grid is None:
            return None
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias
    weight, bias = weight.double(), bias.double()
    if isinstance(norm, nn.BatchNorm1d):
        factor, shift = _norm(norm)
        weight, bias = weight * factor[:, None], bias * factor + shift
    return PointLayer(name, _array(weight.T), _array(bias), grid)


def _input_grid(linear: nn.Module) -> InputGrid | None:
    """Integers that the input of a quantized layer is rounded to; None where channels differ."""
    quantizer = getattr(linear, 'input_quantizer', None)
    if not isinstance(quantizer, FakeQuantizer) or not quantizer.enabled:
        return InputGrid()
    if quantizer.scale.numel() != 1:
        return None
    if not quantizer.calibrated:
        raise QuantizationError('a layer of the pillar encoder has no scale: run tools/ptq.py')
    scheme = quantizer.scheme
    return InputGrid(
        float(quantizer.scale), int(quantizer.zero_point), int(scheme.qmin), int(scheme.qmax)
    )


def _norm(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Factor and shift of a BatchNorm in eval mode."""
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight.double()
    shift = -norm.running_mean.double() * factor
    return factor, shift + norm.bias.double() if norm.affine else shift


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
