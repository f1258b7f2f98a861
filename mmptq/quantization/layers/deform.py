"""Quantized versions of mmcv's deformable convolutions (import-guarded)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .dense import QuantConv2d, QuantConv3d, QuantConvTranspose2d, QuantLinear
from .registry import QUANT_LAYERS, QuantMixin, quantized_version_of

try:
    from mmcv.cnn.bricks import wrappers
    from mmcv.ops.deform_conv import DeformConv2d, DeformConv2dPack, deform_conv2d
    from mmcv.ops.modulated_deform_conv import (
        ModulatedDeformConv2d,
        ModulatedDeformConv2dPack,
        modulated_deform_conv2d,
    )
except ImportError:  # mmcv without compiled ops: mmptq's environment check reports it
    DEFORM_CONVS: tuple[type, ...] = ()
else:
    DEFORM_CONVS = (DeformConv2d, ModulatedDeformConv2d)

    # mmcv's wrappers only add empty-tensor support for torch < 1.5.
    for wrapper, quant_type in (
        (wrappers.Conv2d, QuantConv2d),
        (wrappers.Conv3d, QuantConv3d),
        (wrappers.ConvTranspose2d, QuantConvTranspose2d),
        (wrappers.Linear, QuantLinear),
    ):
        QUANT_LAYERS[wrapper] = quant_type

    @quantized_version_of(ModulatedDeformConv2d)
    class QuantModulatedDeformConv2d(QuantMixin, ModulatedDeformConv2d):
        """Deformable convolution v2 on a quantized input and weight; offset and mask stay float."""

        def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
            return modulated_deform_conv2d(
                self.input_quantizer(x),
                offset,
                mask,
                self.weight_quantizer(self.weight),
                self.bias,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                self.deform_groups,
            )

    @quantized_version_of(ModulatedDeformConv2dPack)
    class QuantModulatedDeformConv2dPack(QuantMixin, ModulatedDeformConv2dPack):
        """Like QuantModulatedDeformConv2d, with the convolution that makes offset and mask."""

        def forward(self, x: Tensor) -> Tensor:
            offset_y, offset_x, mask = torch.chunk(self.conv_offset(x), 3, dim=1)
            offset = torch.cat((offset_y, offset_x), dim=1)
            return QuantModulatedDeformConv2d.forward(self, x, offset, mask.sigmoid())

    @quantized_version_of(DeformConv2d)
    class QuantDeformConv2d(QuantMixin, DeformConv2d):
        """Deformable convolution v1 on a quantized input and weight; the offset stays float.

        Maps smaller than the kernel are padded, as mmcv does: its operator refuses them.
        """

        def forward(self, x: Tensor, offset: Tensor) -> Tensor:
            rows = max(self.kernel_size[0] - x.shape[2], 0)
            columns = max(self.kernel_size[1] - x.shape[3], 0)
            if not (rows or columns):
                return self._convolve(x, offset)
            padding = (0, columns, 0, rows)
            out = self._convolve(F.pad(x, padding), F.pad(offset, padding))
            return out[:, :, : out.shape[2] - rows, : out.shape[3] - columns].contiguous()

        def _convolve(self, x: Tensor, offset: Tensor) -> Tensor:
            return deform_conv2d(
                self.input_quantizer(x),
                offset,
                self.weight_quantizer(self.weight),
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                self.deform_groups,
                False,
                self.im2col_step,
            )

    @quantized_version_of(DeformConv2dPack)
    class QuantDeformConv2dPack(QuantMixin, DeformConv2dPack):
        """Like QuantDeformConv2d, with the convolution that makes the offset."""

        _convolve = QuantDeformConv2d._convolve

        def forward(self, x: Tensor) -> Tensor:
            return self._convolve(x, self.conv_offset(x))
