"""A feature pyramid below two layers of attention."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from .position_attention import PositionAttention

INIT_CFG = dict(type='Xavier', layer='Conv2d', distribution='uniform')


class AttentionPyramid(BaseModule):
    """Attention on the coarsest level, then top-down sums: what GANet and CondLaneNet share.

    Args:
        in_channels (Sequence[int]): Numbers of channels of the backbone's levels, finest first.
        out_channels (int): Number of channels of all levels of the pyramid.
        init_cfg (dict): Config.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, init_cfg: dict = INIT_CFG
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.attention = nn.Sequential(
            PositionAttention(in_channels[-1], out_channels),
            PositionAttention(out_channels, out_channels),
        )
        channels = [*in_channels[:-1], out_channels]
        self.lateral_convs = nn.ModuleList(
            ConvModule(number, out_channels, 1, act_cfg=None) for number in channels
        )

    def fuse(self, feats: Sequence[Tensor]) -> list[Tensor]:
        """Top-down sums of all levels.

        Args:
            feats (Sequence[Tensor]): Features of the backbone, finest first.

        Returns:
            list[Tensor]: (B, out_channels, H, W) each, finest first.
        """
        levels = [*feats[:-1], self.attention(feats[-1])]
        fused: list[Tensor] = []
        for conv, level in zip(reversed(self.lateral_convs), reversed(levels), strict=True):
            lateral = conv(level)
            if fused:
                lateral = lateral + F.interpolate(fused[0], size=lateral.shape[2:], mode='nearest')
            fused.insert(0, lateral)
        return fused
