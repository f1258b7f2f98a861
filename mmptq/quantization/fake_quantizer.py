"""The fake quantizer: a scheme, a scale and a zero point."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .functional import fake_quantize, random_mask
from .scheme import QScheme


class FakeQuantizer(nn.Module):
    """Rounds a tensor to the grid of a scheme, in float.

    Scale, zero point and arithmetic stay float32 and int32 when the model is converted to another
    type (``model.half()``): small scales would become 0 and large zero points infinite. The result
    has the type of the input.

    The buffers have their final shape at construction, so that a checkpoint loads strictly.
    A scale of zero marks a quantizer that was never calibrated. Three slots are filled only while
    a stage learns something; a checkpoint never holds them.

    Args:
        scheme (QScheme): The grid.
        num_scales (int): 1, or the number of channels. Defaults to 1.

    Attributes:
        scale (Tensor): (num_scales,) float32.
        zero_point (Tensor): (num_scales,) int32.
        enabled (bool): Whether the forward quantizes; if not, it returns its input.
        rounding (nn.Module, optional): Decides what each value is rounded to, in place of rounding
            to the nearest; called with (x, scale, zero_point, scheme). ``freeze`` removes it.
        log_scale_delta (nn.Parameter, optional): (num_scales,) natural logarithm of the factor by
            which a learned scale differs from ``scale``.
        drop_prob (float): Share of the values that stay float, chosen at random in every call.
    """

    def __init__(self, scheme: QScheme, num_scales: int = 1):
        super().__init__()
        self.scheme = scheme
        self.enabled = True
        self.register_buffer('scale', torch.zeros(num_scales, dtype=torch.float32))
        self.register_buffer('zero_point', torch.zeros(num_scales, dtype=torch.int32))
        self.register_module('rounding', None)
        self.register_parameter('log_scale_delta', None)
        self.drop_prob = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether a scale was set or loaded."""
        return bool((self.scale > 0).all())

    def set_qparams(self, scale: Tensor, zero_point: Tensor) -> None:
        """Copy scale and zero point, both (num_scales,), into the buffers."""
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)
        self.rounding = None  # it was learned for another grid

    def learned_scale(self) -> Tensor:
        """The scale as it is being learned, or just the scale."""
        return (
            self.scale if self.log_scale_delta is None else self.scale * self.log_scale_delta.exp()
        )

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        if self.rounding is not None:
            rounded = self.rounding(x.float(), self.scale, self.zero_point, self.scheme)
            return rounded.to(x.dtype)
        untouched = random_mask(x, self.drop_prob) if self.drop_prob > 0 else None
        return fake_quantize(x, self.learned_scale(), self.zero_point, self.scheme, untouched)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'FakeQuantizer':
        """Follow the model to another device, but not to another type."""

        def keep_type(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(keep_type, recurse)

    def extra_repr(self) -> str:
        return self.scheme.describe()
