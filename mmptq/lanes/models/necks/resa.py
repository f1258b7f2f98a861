"""Recurrent feature shift aggregation."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .scnn import init_passing

# Dimension along which features are shifted, and the sign of the shift.
DIRECTIONS = dict(down=(2, 1), up=(2, -1), right=(3, 1), left=(3, -1))


@MODELS.register_module()
class RESA(BaseModule):
    """Recurrent feature shift aggregator (https://arxiv.org/abs/2008.13719, section 3.2) as a neck.

    In each direction a convolution of the feature, cyclically shifted by 1/2^K, ..., 1/4, 1/2 of
    the height (or width), is added to all rows (or columns) at once.

    Args:
        in_channels (int): Number of channels of the last feature.
        channels (int): Number of output channels.
        iterations (int): Number of shifts K in each direction.
        alpha (float): Weight of the added features.
        kernel_size (int): Width of the convolution along a row or column.
        init_cfg (dict, optional): Config.

    Example:
        >>> neck = dict(type='RESA', in_channels=256)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 128,
        iterations: int = 4,
        alpha: float = 2.0,
        kernel_size: int = 9,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.reduce = nn.Conv2d(in_channels, channels, 1, bias=False)
        row = dict(kernel_size=(1, kernel_size), padding=(0, kernel_size // 2), bias=False)
        column = dict(kernel_size=(kernel_size, 1), padding=(kernel_size // 2, 0), bias=False)
        self.passes = nn.ModuleDict()
        for name, (dim, _) in DIRECTIONS.items():
            geometry = row if dim == 2 else column
            self.passes[name] = nn.ModuleList(
                nn.Conv2d(channels, channels, **geometry) for _ in range(iterations)
            )
        self.iterations = iterations
        self.alpha = alpha

    def init_weights(self) -> None:
        """Initialise the passes with small weights, because their gain accumulates over shifts."""
        super().init_weights()
        for convs in self.passes.values():
            for conv in convs:
                init_passing(conv)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """Features after all shifts in the four directions.

        Args:
            feats (Sequence[Tensor]): The last, (B, in_channels, H, W), is used.

        Returns:
            tuple[Tensor]: (B, channels, H, W).
        """
        x = self.reduce(feats[-1])
        for name, (dim, sign) in DIRECTIONS.items():
            for index, conv in enumerate(self.passes[name]):
                shift = sign * (x.shape[dim] // 2 ** (self.iterations - index))
                x = x + self.alpha * torch.relu(conv(torch.roll(x, -shift, dim)))
        return (x,)
