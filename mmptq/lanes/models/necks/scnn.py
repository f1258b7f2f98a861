"""Message passing along rows and columns."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class SCNN(BaseModule):
    """Spatial CNN (https://arxiv.org/abs/1712.06080, section 3.1) as a neck.

    After a channel reduction, a convolution of the updated row above is added to each row. A
    downward, an upward, a rightward and a leftward pass follow each other, with one convolution
    each.

    Args:
        in_channels (int): Number of channels of the last feature.
        channels (int): Number of output channels.
        kernel_size (int): Width of the convolution along a row or column.
        init_cfg (dict, optional): Config.

    Example:
        >>> neck = dict(type='SCNN', in_channels=512)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 128,
        kernel_size: int = 9,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.reduce = ConvModule(in_channels, channels, 1, norm_cfg=dict(type='BN'))
        row = dict(kernel_size=(1, kernel_size), padding=(0, kernel_size // 2), bias=False)
        column = dict(kernel_size=(kernel_size, 1), padding=(kernel_size // 2, 0), bias=False)
        self.down = nn.Conv2d(channels, channels, **row)
        self.up = nn.Conv2d(channels, channels, **row)
        self.right = nn.Conv2d(channels, channels, **column)
        self.left = nn.Conv2d(channels, channels, **column)

    def init_weights(self) -> None:
        """Initialise the passes with small weights, because their gain accumulates over rows."""
        super().init_weights()
        for conv in (self.down, self.up, self.right, self.left):
            init_passing(conv)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """Features after the four passes.

        Args:
            feats (Sequence[Tensor]): The last, (B, in_channels, H, W), is used.

        Returns:
            tuple[Tensor]: (B, channels, H, W).
        """
        x = self.reduce(feats[-1])
        x = pass_messages(x, self.down, dim=2, backward=False)
        x = pass_messages(x, self.up, dim=2, backward=True)
        x = pass_messages(x, self.right, dim=3, backward=False)
        return (pass_messages(x, self.left, dim=3, backward=True),)


def init_passing(conv: nn.Conv2d) -> None:
    """Initialise a convolution of a pass as the authors of SCNN do.

    Source: https://github.com/XingangPan/SCNN/issues/82
    """
    taps = conv.in_channels * max(conv.kernel_size)
    bound = math.sqrt(2 / (taps * 5))
    nn.init.uniform_(conv.weight, -bound, bound)


def pass_messages(x: Tensor, conv: nn.Module, dim: int, backward: bool) -> Tensor:
    """Add to each slice the convolved and rectified previous slice.

    Args:
        x (Tensor): (B, C, H, W).
        conv (nn.Module): A convolution that keeps the shape of a slice.
        dim (int): 2 to pass from row to row, 3 from column to column.
        backward (bool): Whether to start at the last slice.

    Returns:
        Tensor: (B, C, H, W).
    """
    slices = list(x.split(1, dim))
    order = range(len(slices))
    for before, current in pairwise(reversed(order) if backward else order):
        slices[current] = slices[current] + torch.relu(conv(slices[before]))
    return torch.cat(slices, dim)
