"""Neck of BezierLaneNet."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmcv.ops import ModulatedDeformConv2d
from mmdet.models.necks.dilated_encoder import Bottleneck
from mmdet.registry import MODELS
from mmengine.model import BaseModule, constant_init
from torch import Tensor, nn

NORM = dict(type='BN')


class FeatureFlipFusion(BaseModule):
    """Add the horizontally flipped feature, because the lanes of a road are roughly symmetric.

    A deformable convolution aligns the flipped feature; its offsets are predicted from both. See
    section 3.3 of https://arxiv.org/abs/2203.02431.

    Args:
        channels (int): Number of channels of the feature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = ConvModule(channels, channels, 1, norm_cfg=NORM, act_cfg=None)
        self.offset = nn.Conv2d(2 * channels, 3 * 9, 3, padding=1)
        self.deform = ModulatedDeformConv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = build_norm_layer(NORM, channels)[1]

    def init_weights(self) -> None:
        """Start with zero offsets, as a regular convolution."""
        super().init_weights()
        constant_init(self.offset, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Fuse ``x`` (B, C, H, W) with its horizontal flip."""
        straight, mirrored = self.project(x), x.flip(-1)
        offset_y, offset_x, mask = self.offset(torch.cat([mirrored, straight], dim=1)).chunk(3, 1)
        offset = torch.cat([offset_y, offset_x], dim=1)
        return (straight + self.norm(self.deform(mirrored, offset, mask.sigmoid()))).relu()


@MODELS.register_module()
class FeatureFlipNeck(BaseModule):
    """Dilated blocks for a larger receptive field, and feature flip fusion.

    Args:
        in_channels (int): Number of channels of the backbone's last feature.
        mid_channels (int): Number of hidden channels of the dilated blocks.
        dilations (Sequence[int]): One dilation per block.

    Example:
        >>> neck = dict(type='FeatureFlipNeck', in_channels=256, mid_channels=64)
    """

    def __init__(
        self, in_channels: int, mid_channels: int = 64, dilations: Sequence[int] = (4, 8)
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *[Bottleneck(in_channels, mid_channels, dilation, NORM) for dilation in dilations]
        )
        self.fusion = FeatureFlipFusion(in_channels)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The backbone's last feature, unchanged and fused; both (B, C, h, w)."""
        return feats[-1], self.fusion(self.blocks(feats[-1]))
