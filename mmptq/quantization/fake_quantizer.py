"""The fake quantizer: a scheme, a scale and a zero point."""

import torch
from torch import Tensor, nn

from .functional import fake_quantize
from .scheme import QScheme


class FakeQuantizer(nn.Module):
    """Rounds a tensor to the grid of a scheme, in float.

    The buffers have their final shape at construction, so that a checkpoint loads strictly.
    A scale of zero marks a quantizer that was never calibrated.

    Args:
        scheme (QScheme): The grid.
        num_scales (int): 1, or the number of channels. Defaults to 1.

    Attributes:
        scale (Tensor): (num_scales,) float32.
        zero_point (Tensor): (num_scales,) int32.
        enabled (bool): Whether the forward quantizes; if not, it returns its input.
    """

    def __init__(self, scheme: QScheme, num_scales: int = 1):
        super().__init__()
        self.scheme = scheme
        self.enabled = True
        self.register_buffer('scale', torch.zeros(num_scales))
        self.register_buffer('zero_point', torch.zeros(num_scales, dtype=torch.int32))

    @property
    def calibrated(self) -> bool:
        """Whether a scale was set or loaded."""
        return bool((self.scale > 0).all())

    def set_qparams(self, scale: Tensor, zero_point: Tensor) -> None:
        """Copy scale and zero point, both (num_scales,), into the buffers."""
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        return fake_quantize(x, self.scale, self.zero_point, self.scheme)

    def extra_repr(self) -> str:
        return self.scheme.describe()
