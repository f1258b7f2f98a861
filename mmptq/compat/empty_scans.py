"""Lets mmdet3d's detectors take batches whose last scan, or every scan, has no voxel.

Their number of scans is read off the last voxel, which belongs to an earlier scan then, or to none.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mmptq.utils.detector_parts import MIDDLE_ENCODERS

from .patches import is_enabled

_MARK = '_mmptq_takes_empty_scans'


def accept_empty_scans(model: nn.Module) -> None:
    """Make a detector with hard voxels detect on scans without points what its biases say.

    A batch that ends in an empty scan gets one more voxel, outside of the grid, which leaves before
    the features of the voxels become a map: no value of any scan changes. Other models stay as
    they are; calling it again changes nothing.

    Args:
        model (nn.Module): Any detector, float or quantized.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    found = (getattr(model, name, None) for name in MIDDLE_ENCODERS)
    encoder = next((module for module in found if module is not None), None)
    hard = getattr(preprocessor, 'voxel_type', None) == 'hard'
    if encoder is None or not hard or hasattr(model, _MARK) or not is_enabled('empty_scans'):
        return
    preprocessor.register_forward_hook(_add_voxel)
    encoder.register_forward_pre_hook(_drop_voxel)
    setattr(model, _MARK, True)


def _add_voxel(_: nn.Module, args: Any, output: Any) -> None:
    inputs = output.get('inputs') if isinstance(output, dict) else None
    voxels = inputs.get('voxels') if isinstance(inputs, dict) else None
    if voxels is None or 'num_points' not in voxels:
        return
    coors, last = voxels['coors'], len(inputs['points']) - 1
    if len(coors) and int(coors[-1, 0]) == last:
        return
    extra = coors.new_full((1, coors.shape[1]), -1)
    extra[0, 0] = last
    voxels['coors'] = torch.cat([coors, extra])
    for name, value in (('voxels', 0), ('num_points', 1), ('voxel_centers', 0)):
        if name in voxels:
            voxels[name] = _longer(voxels[name], value)


def _longer(x: Tensor, value: float) -> Tensor:
    """``x`` (N, ...) with one more row of a value."""
    return pad(x, (0, 0) * (x.dim() - 1) + (0, 1), value=value)


def _drop_voxel(_: nn.Module, args: tuple) -> tuple | None:
    if len(args) < 2 or not isinstance(args[1], Tensor) or not len(args[1]):
        return None
    features, coors, *rest = args
    if int(coors[-1, 1]) >= 0:
        return None
    return features[:-1], coors[:-1], *rest
