"""Aggregate features of each position from points along its lane."""

import torch
from mmcv.cnn import ConvModule
from mmcv.ops import DeformConv2d
from mmengine.model import BaseModule
from torch import Tensor, nn


class LaneFeatureAggregator(BaseModule):
    """Lane-aware feature aggregator (LFA) of GANet: a deformable convolution on predicted points.

    One branch predicts points along the lane through each position, the other samples features
    there. The points have their own loss; only a fraction of the convolution's gradient reaches
    them.

    Paper: https://arxiv.org/abs/2204.07335, section 3.3.

    Args:
        in_channels (int): Number of input and output channels.
        feat_channels (int): Number of hidden channels of both branches.
        num_points (int): Number of points per position, odd.
        stacked_convs (int): Number of convolutions per branch.
        gradient_share (float): Fraction of the gradient that reaches the points.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 256,
        num_points: int = 7,
        stacked_convs: int = 3,
        gradient_share: float = 0.1,
    ) -> None:
        super().__init__()
        if num_points % 2 == 0:
            raise ValueError(f'LaneFeatureAggregator needs an odd num_points, got {num_points}')
        self.gradient_share = gradient_share
        self.feature_convs = self._stack(in_channels, feat_channels, stacked_convs)
        self.point_convs = self._stack(in_channels, feat_channels, stacked_convs)
        self.points = nn.Sequential(
            nn.Conv2d(feat_channels, in_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(in_channels, 2 * num_points, 1),
        )
        reach = num_points // 2
        self.aggregation = DeformConv2d(
            feat_channels,
            in_channels,
            (1, num_points),
            padding=(0, reach),
            im2col_step=1,  # divides any batch size
        )
        # The regular kernel positions as (y, x) pairs; offsets are relative to them.
        steps = torch.arange(-reach, reach + 1.0, device='cpu')
        grid = torch.stack([torch.zeros_like(steps), steps], dim=1).reshape(1, -1, 1, 1)
        self.register_buffer('grid', grid, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Aggregate features along lanes.

        Args:
            x (Tensor): (B, C, H, W).

        Returns:
            tuple[Tensor, Tensor]: Features (B, C, H, W) and points (B, 2 * num_points, H, W), pairs
            (y, x) in cells, relative to the position.
        """
        points = self.points(self.point_convs(x))
        damped = points.detach().lerp(points, self.gradient_share)
        features = self.aggregation(self.feature_convs(x), damped - self.grid)
        return features.relu(), points

    @staticmethod
    def _stack(in_channels: int, feat_channels: int, number: int) -> nn.Sequential:
        channels = [in_channels] + [feat_channels] * number
        return nn.Sequential(
            *(ConvModule(channels[i], channels[i + 1], 3, padding=1) for i in range(number))
        )
