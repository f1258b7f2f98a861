"""The layers of a sparse encoder, from its modules."""

from typing import Any

import numpy as np
import torch
from torch import nn

from mmptq.quantization import FakeQuantizer, QuantizationError, quantize
from mmptq.quantization.layers.sparse import SPARSE_CONVS
from mmptq.utils.detector_parts import MIDDLE_ENCODERS

from .geometry import INVERSE, STRIDED, SUBM, KernelGeometry
from .graph import SparseGraph, SparseLayer
from .layer import LARGEST_SUM, InputGrid, largest_sum


def find_sparse_encoder(detector: nn.Module) -> str | None:
    """Attribute name of the middle encoder with sparse convolutions, if a detector has one."""
    for name in MIDDLE_ENCODERS:
        encoder = getattr(detector, name, None)
        if encoder is not None and any(isinstance(m, SPARSE_CONVS) for m in encoder.modules()):
            return name
    return None


def read_encoder(encoder: nn.Module, name: str, shape: Any, metadata: Any = None) -> SparseGraph:
    """Layers, weights and integers of a sparse encoder, in eval mode.

    Args:
        encoder (nn.Module): A ``SparseEncoder`` of mmdet3d, or a ``SparseSequential``.
        name (str): Its module path.
        shape (Sequence[int]): Grid along (z,) y and x.
        metadata (dict, optional): Plain data about the origin.

    Raises:
        QuantizationError: For a module that the engine has not; names it.
    """
    shape = (1,) * (3 - len(shape)) + tuple(int(n) for n in shape)
    walk = _Walk(name)
    walk.visit(encoder, name, 0)
    if not walk.layers:
        raise walk.refusal(name, encoder, 'holds no sparse convolution')
    in_channels = walk.layers[0].weight.shape[2]
    return SparseGraph(name, shape, in_channels, walk.layers, metadata or {})


class _Walk:
    """Follows a value through modules and notes the layers.

    Args:
        root (str): Module path of the encoder.
    """

    def __init__(self, root: str):
        self.root = root
        self.layers: list[SparseLayer] = []
        self.sites = {0: 0}
        self.keys: dict[str, SparseLayer] = {}

    def refusal(self, name: str, module: nn.Module, problem: str) -> QuantizationError:
        return QuantizationError(
            f"'{name}' ({type(module).__name__}) {problem}: the sparse engine cannot run "
            f"'{self.root}'; leave it in PyTorch with --sparse-in-pytorch"
        )

    def visit(self, module: nn.Module, name: str, value: int) -> int:
        """The value that a module makes of another one."""
        if isinstance(module, SPARSE_CONVS):
            return self._conv(module, name, value)
        if isinstance(module, nn.ReLU):
            return self._relu(module, name, value)
        if isinstance(module, nn.Identity):
            return value
        if isinstance(module, nn.BatchNorm1d):
            return self._norm(module, name, value)
        if type(module).forward in [kind.forward for kind in _sequential_types()]:
            for child, part in module._modules.items():  # a module may come twice
                value = self.visit(part, f'{name}.{child}', value)
            return value
        if _computes_as(module, 'SparseBasicBlock'):
            return self._block(module, name, value)
        if _computes_as(module, 'SparseEncoder') and not module.return_middle_feats:
            for part in ('conv_input', 'encoder_layers', 'conv_out'):
                value = self.visit(getattr(module, part), f'{name}.{part}', value)
            return value
        raise self.refusal(name, module, 'is not supported')

    def _block(self, block: nn.Module, name: str, value: int) -> int:
        out = self.visit(block.conv1, f'{name}.conv1', value)
        out = self.visit(block.norm1, f'{name}.norm1', out)
        out = self.visit(block.relu, f'{name}.relu', out)
        out = self.visit(block.conv2, f'{name}.conv2', out)
        out = self.visit(block.norm2, f'{name}.norm2', out)
        layer = self._unread(block, name, out)
        if block.downsample is not None:
            value = self.visit(block.downsample, f'{name}.downsample', value)
        layer.residual = value
        if self.sites[value] != layer.target_sites:
            raise self.refusal(name, block, 'adds features of other sites')
        # What is added must be there before.
        self.layers.append(self.layers.pop(self.layers.index(layer)))
        return self.visit(block.relu, f'{name}.relu', out)

    def _unread(self, module: nn.Module, name: str, value: int) -> SparseLayer:
        """The layer whose output a module changes; nothing else may have taken that output."""
        layer = next((layer for layer in self.layers if layer.output == value), None)
        taken = any(value in (other.source, other.residual) for other in self.layers)
        if layer is None or taken or layer.relu:
            raise self.refusal(name, module, 'does not directly follow a convolution')
        return layer

    def _relu(self, relu: nn.Module, name: str, value: int) -> int:
        producer = next((layer for layer in self.layers if layer.output == value), None)
        if producer is None or not producer.relu:  # a second one changes nothing
            self._unread(relu, name, value).relu = True
        return value

    def _norm(self, norm: nn.Module, name: str, value: int) -> int:
        layer = self._unread(norm, name, value)
        if norm.training or norm.running_mean is None or layer.residual is not None:
            raise self.refusal(name, norm, 'cannot be computed inside of a convolution')
        gain = torch.rsqrt(norm.running_var + norm.eps) * _or(norm.weight, 1)
        shift = _or(norm.bias, 0) - norm.running_mean * gain
        gain, shift = _array(gain), _array(shift)
        layer.scale = layer.scale * gain
        layer.bias = layer.bias * gain + shift
        return value

    def _conv(self, conv: nn.Module, name: str, value: int) -> int:
        _check_conv(self, conv, name)
        sites = self.sites[value]
        geometry, target = _geometry(conv), sites
        if conv.inverse:
            before = self.keys.get(conv.indice_key)
            if before is None or before.target_sites != sites:
                raise self.refusal(name, conv, f"has no convolution '{conv.indice_key}' before it")
            target, there = before.source_sites, before.geometry
            if there.kernel != geometry.kernel:
                raise self.refusal(name, conv, f"has another kernel than '{conv.indice_key}'")
            geometry = KernelGeometry(
                INVERSE, there.kernel, there.stride, there.padding, there.dilation
            )
        elif geometry.kind == STRIDED:
            if conv.indice_key in self.keys and conv.indice_key is not None:
                raise self.refusal(name, conv, f"uses the indice_key '{conv.indice_key}' again")
            target = max(self.sites.values()) + 1
        weight, scale, grid = _integers(self, conv, name)
        layer = SparseLayer(
            name=name,
            geometry=geometry,
            weight=weight,
            scale=scale,
            bias=_array(_or(conv.bias, conv.weight.new_zeros(conv.out_channels))),
            grid=grid,
            source=value,
            output=max(self.sites) + 1,
            source_sites=sites,
            target_sites=target,
            indice_key=conv.indice_key,
        )
        self.layers.append(layer)
        self.sites[layer.output] = target
        if geometry.kind == STRIDED and conv.indice_key is not None:
            self.keys[conv.indice_key] = layer
        return layer.output


def _check_conv(walk: _Walk, conv: nn.Module, name: str) -> None:
    known = not conv.transposed and conv.ndim in (2, 3)
    if not known:
        raise walk.refusal(name, conv, 'is not supported')
    if conv.groups != 1:
        raise walk.refusal(name, conv, f'has {conv.groups} groups')
    if int(conv.act_type) != 0:
        raise walk.refusal(name, conv, 'has an activation of its own')


def _geometry(conv: nn.Module) -> KernelGeometry:
    def three(numbers: Any, first: int) -> tuple[int, int, int]:
        return (first,) * (3 - conv.ndim) + tuple(int(n) for n in numbers)

    return KernelGeometry(
        SUBM if conv.subm else STRIDED,
        three(conv.kernel_size, 1),
        three(conv.stride, 1),
        three(conv.padding, 0),
        three(conv.dilation, 1),
    )


def _integers(walk: _Walk, conv: nn.Module, name: str) -> tuple[np.ndarray, np.ndarray, InputGrid]:
    """Weights (out, offsets, in), their scale, and the integers of the input."""
    weight_slot = getattr(conv, 'weight_quantizer', None)
    input_slot = getattr(conv, 'input_quantizer', None)
    weight = conv.weight.detach().float().cpu()
    shape = (weight.shape[0], -1, weight.shape[-1])
    ones = np.ones(len(weight), np.float32)
    if not isinstance(weight_slot, FakeQuantizer):
        if isinstance(input_slot, FakeQuantizer):
            raise walk.refusal(name, conv, 'has float weights and a quantized input')
        return weight.reshape(shape).contiguous().cpu().numpy(), ones, InputGrid()
    scheme, zero = weight_slot.scheme, weight_slot.zero_point.cpu()
    scale = weight_slot.scale.detach().cpu()
    integers = quantize(weight, scale, zero, scheme) - scheme.broadcast(zero, weight.dim())
    if int(integers.min()) < -128 or int(integers.max()) > 127:
        raise walk.refusal(name, conv, 'has weights that do not fit into int8 around zero')
    integers = integers.reshape(shape).to(torch.int8).contiguous().cpu().numpy()
    scale = ones * _array(scale)
    grid = InputGrid()
    if isinstance(input_slot, FakeQuantizer):
        if input_slot.scale.numel() != 1:
            raise walk.refusal(name, conv, 'has one input scale per channel')
        scheme = input_slot.scheme
        grid = InputGrid(
            input_slot.scale.item(), input_slot.zero_point.item(), scheme.qmin, scheme.qmax
        )
    if grid.is_float or largest_sum(integers, grid) > LARGEST_SUM:
        # Sums of 16-bit inputs of many channels leave int32: their steps are fine enough for float.
        return integers.astype(np.float32), scale, InputGrid()
    return integers, scale, grid


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _array(tensor: Any) -> np.ndarray:
    return torch.as_tensor(tensor, device='cpu').detach().float().numpy().copy()


def _sequential_types() -> tuple[type, ...]:
    from spconv.pytorch import SparseSequential

    return SparseSequential, nn.Sequential


def _computes_as(module: nn.Module, name: str) -> bool:
    """Whether a module has the forward of a class of mmdet3d, which need not be installed."""
    try:
        from mmdet3d.models.layers.sparse_block import SparseBasicBlock
        from mmdet3d.models.middle_encoders import SparseEncoder
    except ImportError:
        return False
    base = dict(SparseBasicBlock=SparseBasicBlock, SparseEncoder=SparseEncoder)[name]
    return isinstance(module, base) and type(module).forward is base.forward
