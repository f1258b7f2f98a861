"""Decoder of ENet-SAD."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmptq.lanes.models.backbones.enet_blocks import (
    ENetBottleneck,
    ENetUpBottleneck,
    init_as_identity,
)


@MODELS.register_module()
class ENetDecoder(BaseModule):
    """Decoder D1 and D2 of ENet-SAD on the last two stages of :class:`ENet`, concatenated.

    Args:
        num_classes (int): Number of output channels.
        base_channels (int): The same as for the encoder.
        dropout (float): Dropout rate of channels in training.
        init_cfg (dict, optional): Config.
    """

    def __init__(
        self,
        num_classes: int,
        base_channels: int = 16,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        init_cfg = init_cfg or [
            dict(type='Kaiming', layer=['Conv2d', 'ConvTranspose2d']),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ]
        super().__init__(init_cfg)
        middle = 4 * base_channels
        self.up1 = ENetUpBottleneck(16 * base_channels, middle, dropout)
        self.stage1 = nn.Sequential(
            *(ENetBottleneck(middle, dropout=dropout, act='ReLU') for _ in range(2))
        )
        self.up2 = ENetUpBottleneck(middle, base_channels, dropout)
        self.stage2 = ENetBottleneck(base_channels, dropout=dropout, act='ReLU')
        self.classify = nn.ConvTranspose2d(base_channels, num_classes, 2, stride=2)

    def init_weights(self) -> None:
        """Initialise the weights; bottlenecks start as identities."""
        super().init_weights()
        init_as_identity(self)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Class scores of pixels.

        Args:
            feats (Sequence[Tensor]): Output of :class:`ENet`.

        Returns:
            Tensor: (B, num_classes, H, W) logits at the size of the image.
        """
        x = self.up1(torch.cat(feats[-2:], dim=1), feats[1])
        x = self.up2(self.stage1(x), feats[0])
        return self.classify(self.stage2(x))
