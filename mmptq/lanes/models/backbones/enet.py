"""Encoder of ENet, with the stages for self attention distillation."""

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .enet_blocks import ENetBottleneck, ENetDownBottleneck, ENetInitialBlock, init_as_identity


@MODELS.register_module()
class ENet(BaseModule):
    """Encoder of ENet (https://arxiv.org/abs/1606.02147) as ENet-SAD uses it.

    Returns the features of the initial block (stride 2), of stage 1 (stride 4) and of each deep
    stage of eight bottlenecks (stride 8). With two deep stages these are the blocks E1 to E4 of
    ENet-SAD (https://arxiv.org/abs/1908.00821).

    Note:
        Neither paper nor code of ENet-SAD say which layers E1 to E4 are. The default has 0.95
        million parameters with decoder and existence branch; the published number is 0.98 million.
        Use ``num_deep_stages=3, shared=True`` for the other reading: E1 is stage 1, and E2 to E4
        are three deep stages with shared weights.

    Args:
        in_channels (int): Number of channels of the image.
        base_channels (int): Number of channels of the initial block; stage 1 has 4 times and deep
            stages have 8 times this number.
        num_deep_stages (int): Number of stages of eight bottlenecks at stride 8.
        shared (bool): Whether all deep stages share their weights.
        dropout (float): Dropout rate of channels in deep stages; stage 1 has a tenth of it.
        init_cfg (dict, optional): Config.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 16,
        num_deep_stages: int = 2,
        shared: bool = False,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        init_cfg = init_cfg or [
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ]
        super().__init__(init_cfg)
        middle, deep = 4 * base_channels, 8 * base_channels
        self.initial = ENetInitialBlock(in_channels, base_channels)
        self.stage1 = nn.Sequential(
            ENetDownBottleneck(base_channels, middle, dropout=dropout / 10),
            *(ENetBottleneck(middle, dropout=dropout / 10) for _ in range(4)),
        )
        self.reduce = ENetDownBottleneck(middle, deep, dropout)
        self.deep_stages = nn.ModuleList(
            _deep_stage(deep, dropout) for _ in range(1 if shared else num_deep_stages)
        )
        self.num_deep_stages = num_deep_stages

    def init_weights(self) -> None:
        """Initialise the weights; bottlenecks start as identities."""
        super().init_weights()
        init_as_identity(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Stage features.

        Args:
            images (Tensor): (B, in_channels, H, W), H and W divisible by 8.

        Returns:
            tuple[Tensor, ...]: Features of stride 2, 4, 8, 8, ...
        """
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f'ENet needs images with sides divisible by 8, got {width}x{height}: change scale '
                'of LaneResize'
            )
        features = [self.initial(images)]
        features.append(self.stage1(features[-1]))
        x = self.reduce(features[-1])
        for index in range(self.num_deep_stages):
            x = self.deep_stages[index % len(self.deep_stages)](x)
            features.append(x)
        return tuple(features)


def _deep_stage(channels: int, dropout: float) -> nn.Sequential:
    """Regular, dilated and asymmetric bottlenecks in the order of the paper's table 1."""
    kinds = [
        dict(),
        dict(dilation=2),
        dict(asymmetric=True),
        dict(dilation=4),
        dict(),
        dict(dilation=8),
        dict(asymmetric=True),
        dict(dilation=16),
    ]
    return nn.Sequential(*(ENetBottleneck(channels, dropout=dropout, **kind) for kind in kinds))
