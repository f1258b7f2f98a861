"""Feature pyramid with aggregation along lanes on the finest level."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .lane_feature_aggregator import LaneFeatureAggregator
from .position_attention import PositionAttention

INIT_CFG = dict(type='Xavier', layer='Conv2d', distribution='uniform')


@MODELS.register_module()
class DeformFPN(BaseModule):
    """Neck of GANet: attention on the coarsest level, top-down sums, aggregation on the finest.

    Paper: https://arxiv.org/abs/2204.07335, figure 2.

    Note:
        The published code (https://github.com/Wolfwjs/GANet) also returns the coarser levels, which
        its head does not use; they are omitted here.

    Args:
        in_channels (Sequence[int]): Numbers of channels of the backbone's levels, finest first.
        out_channels (int): Number of channels of all levels of the pyramid.
        aggregator (dict, optional): Further arguments of :class:`LaneFeatureAggregator`.
        init_cfg (dict): Config.

    Example:
        >>> neck = dict(type='DeformFPN', in_channels=[128, 256, 512], out_channels=64)
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        aggregator: dict | None = None,
        init_cfg: dict = INIT_CFG,
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
        self.aggregator = LaneFeatureAggregator(out_channels, **(aggregator or {}))
        self.output_conv = ConvModule(out_channels, out_channels, 3, padding=1, act_cfg=None)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Fuse the levels.

        Args:
            feats (Sequence[Tensor]): Features of the backbone, finest first.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Aggregated and plain features of the finest level,
            (B, out_channels, H, W) each, and the aggregator's points.
        """
        levels = [*feats[:-1], self.attention(feats[-1])]
        fused = None
        for conv, level in zip(reversed(self.lateral_convs), reversed(levels), strict=True):
            lateral = conv(level)
            if fused is not None:
                lateral = lateral + F.interpolate(fused, size=lateral.shape[2:], mode='nearest')
            fused = lateral
        aggregated, points = self.aggregator(fused)
        return self.output_conv(aggregated), fused, points
