"""Self attention between the positions of a feature map."""

import torch
from mmcv.cnn import ConvModule
from mmdet.models.layers import SinePositionalEncoding
from mmengine.model import BaseModule
from torch import Tensor, nn


class PositionAttention(BaseModule):
    """Convolution, attention between all positions, and convolution, as in GANet's encoder.

    The weight of the attention starts at 0 and is learned. Paper: https://arxiv.org/abs/2204.07335,
    section 3.1; layers as in the published code (https://github.com/Wolfwjs/GANet).

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels, divisible by 4.
        ratio (int): Ratio of ``out_channels`` to the channels of queries and keys.
    """

    def __init__(self, in_channels: int, out_channels: int, ratio: int = 4) -> None:
        super().__init__()
        norm_cfg = dict(type='BN')
        self.pre_conv = ConvModule(in_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg)
        self.encoding = SinePositionalEncoding(out_channels // 2)
        self.query = nn.Conv2d(out_channels, out_channels // ratio, 1)
        self.key = nn.Conv2d(out_channels, out_channels // ratio, 1)
        self.value = nn.Conv2d(out_channels, out_channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.final_conv = ConvModule(out_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Refine a feature map.

        Args:
            x (Tensor): (B, C, H, W).

        Returns:
            Tensor: (B, out_channels, H, W).
        """
        x = self.pre_conv(x)
        everywhere = torch.zeros((1, *x.shape[2:]), dtype=torch.bool, device=x.device)
        x = x + self.encoding(everywhere).to(x.dtype)
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(dim=2)
        attended = (value @ weights.transpose(1, 2)).view_as(x)
        return self.final_conv(x + self.gamma * attended)
