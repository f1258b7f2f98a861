"""Bilateral up-sampling decoder of RESA."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

NORM = dict(type='BN', eps=1e-3)


@MODELS.register_module()
class BUSDDecoder(BaseModule):
    """Bilateral up-sampling decoder (https://arxiv.org/abs/2008.13719, section 3.3).

    Three blocks double the size and halve the channels with a coarse branch (bilinear) and a fine
    branch (transposed convolution and two residual blocks of ERFNet).

    Args:
        num_classes (int): Number of output channels.
        in_channels (int): Number of channels of the last feature.
        init_cfg (dict, optional): Config.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 128, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        widths = [in_channels // 2**index for index in range(4)]
        self.blocks = nn.Sequential(
            *(_BilateralBlock(*pair) for pair in zip(widths[:-1], widths[1:], strict=True))
        )
        self.classify = nn.Conv2d(widths[-1], num_classes, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Class scores of pixels.

        Args:
            feats (Sequence[Tensor]): The last, (B, in_channels, H, W), is used.

        Returns:
            Tensor: (B, num_classes, 8H, 8W) logits.
        """
        return self.classify(self.blocks(feats[-1]))


class _BilateralBlock(nn.Module):
    """Double the size with the sum of a coarse and a fine branch."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = ConvModule(in_channels, out_channels, 1, norm_cfg=NORM)
        self.fine = nn.Sequential(
            ConvModule(
                in_channels,
                out_channels,
                3,
                stride=2,
                padding=1,
                bias=True,
                conv_cfg=dict(type='deconv', output_padding=1),
                norm_cfg=NORM,
            ),
            _FactorizedBlock(out_channels),
            _FactorizedBlock(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = F.interpolate(
            self.coarse(x), size=fine.shape[-2:], mode='bilinear', align_corners=True
        )
        return fine + coarse


class _FactorizedBlock(nn.Module):
    """Residual block of ERFNet: two times a 3x1 and a 1x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        column = dict(kernel_size=(3, 1), padding=(1, 0), bias=True)
        row = dict(kernel_size=(1, 3), padding=(0, 1), bias=True)
        self.branch = nn.Sequential(
            ConvModule(channels, channels, **column),
            ConvModule(channels, channels, **row, norm_cfg=NORM),
            ConvModule(channels, channels, **column),
            ConvModule(channels, channels, **row, norm_cfg=NORM, act_cfg=None),
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.branch(x))
