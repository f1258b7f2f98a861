"""Quantized versions of torch's weighted layers, made in place from float ones.

Arguments have torch's names: ``layer(input=x)`` is a call, too.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .registry import QuantMixin, quantized_version_of


@quantized_version_of(nn.Conv1d)
class QuantConv1d(QuantMixin, nn.Conv1d):
    """nn.Conv1d on a quantized input and weight."""

    batched_dims = 3
    takes_multiplier = True

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(
            self.quantize_input(input), self.weight_quantizer(self.weight), self.bias
        )


@quantized_version_of(nn.Conv2d)
class QuantConv2d(QuantMixin, nn.Conv2d):
    """nn.Conv2d on a quantized input and weight."""

    batched_dims = 4
    takes_multiplier = True
    forward = QuantConv1d.forward


@quantized_version_of(nn.Conv3d)
class QuantConv3d(QuantMixin, nn.Conv3d):
    """nn.Conv3d on a quantized input and weight."""

    batched_dims = 5
    takes_multiplier = True
    forward = QuantConv1d.forward


@quantized_version_of(nn.ConvTranspose2d)
class QuantConvTranspose2d(QuantMixin, nn.ConvTranspose2d):
    """nn.ConvTranspose2d on a quantized input and weight; output channels are weight axis 1."""

    weight_axis = 1
    batched_dims = 4
    takes_multiplier = True

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        output_padding = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, 2, self.dilation
        )
        return F.conv_transpose2d(
            self.quantize_input(input),
            self.weight_quantizer(self.weight),
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
        )


@quantized_version_of(nn.Linear)
class QuantLinear(QuantMixin, nn.Linear):
    """nn.Linear on a quantized input and weight."""

    channel_axis = -1
    takes_multiplier = True

    @property
    def num_input_channels(self) -> int:
        return self.in_features

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(self.quantize_input(input), self.weight_quantizer(self.weight), self.bias)
