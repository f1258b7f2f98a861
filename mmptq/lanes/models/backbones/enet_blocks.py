"""Building blocks of ENet (https://arxiv.org/abs/1606.02147, section 4).

Each bottleneck adds a main branch and an extension of three convolutions (projection, middle
convolution, expansion), then applies an activation. Batch normalization follows each convolution,
and an activation the first two.
"""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F

# With stride 2 and padding 1, a transposed convolution that exactly doubles the size.
DOUBLING = dict(type='deconv', output_padding=1)


def activation_cfg(kind: str, channels: int) -> dict:
    """Config of an activation; PReLU has one slope per channel, as in the paper."""
    return dict(type='PReLU', num_parameters=channels) if kind == 'PReLU' else dict(type=kind)


def make_activation(kind: str, channels: int) -> nn.Module:
    """Build an activation."""
    return nn.PReLU(channels) if kind == 'PReLU' else nn.ReLU()


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    act: str | None,
    conv_cfg: dict | None = None,
    **geometry,
) -> ConvModule:
    """Convolution without bias, batch normalization and an optional activation.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        kernel_size (int | tuple[int, int]): Height and width.
        act (str, optional): 'PReLU' or 'ReLU'.
        conv_cfg (dict, optional): Type of the convolution, see mmcv.
        **geometry: ``stride``, ``padding``, ``dilation`` of the convolution.
    """
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        conv_cfg=conv_cfg,
        norm_cfg=dict(type='BN', eps=1e-3),
        act_cfg=None if act is None else activation_cfg(act, out_channels),
        **geometry,
    )


def init_as_identity(module: nn.Module) -> None:
    """Zero the last BatchNorm weight of all bottlenecks that keep their size.

    Like ``zero_init_residual`` of mmdet's ResNet; training converges faster.

    Args:
        module (nn.Module): Contains the bottlenecks.
    """
    for block in module.modules():
        if isinstance(block, ENetBottleneck):
            nn.init.zeros_(block.expand.bn.weight)


class ENetInitialBlock(nn.Module):
    """Strided convolution and max pooling, concatenated; halves the size.

    Args:
        in_channels (int): Number of channels of the image; the pooled image takes the same number
            of output channels.
        out_channels (int): Number of output channels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.act = make_activation('PReLU', out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H / 2, W / 2)."""
        return self.act(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2)], dim=1)))


class ENetBottleneck(nn.Module):
    """Bottleneck that keeps size and channels.

    Args:
        channels (int): Number of input and output channels.
        dilation (int): Dilation of the middle 3x3 convolution.
        asymmetric (bool): Whether the middle convolution is a 5x1 followed by a 1x5 one.
        dropout (float): Dropout rate of the channels of the extension in training.
        act (str): 'PReLU' (encoder) or 'ReLU' (decoder).
    """

    def __init__(
        self,
        channels: int,
        dilation: int = 1,
        asymmetric: bool = False,
        dropout: float = 0.1,
        act: str = 'PReLU',
    ) -> None:
        super().__init__()
        inner = channels // 4
        if asymmetric:
            middle = [
                nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False),
                conv_norm(inner, inner, (1, 5), act, padding=(0, 2)),
            ]
        else:
            middle = [conv_norm(inner, inner, 3, act, padding=dilation, dilation=dilation)]
        self.reduce = nn.Sequential(conv_norm(channels, inner, 1, act), *middle)
        self.expand = conv_norm(inner, channels, 1, None)
        self.dropout = nn.Dropout2d(dropout)
        self.act = make_activation(act, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        return self.act(x + self.dropout(self.expand(self.reduce(x))))


class ENetDownBottleneck(nn.Module):
    """Bottleneck that halves the size; the main branch is max pooling, padded with zero channels.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels, at least ``in_channels``.
        dropout (float): Dropout rate of the channels of the extension in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        inner = out_channels // 4
        self.extension = nn.Sequential(
            conv_norm(in_channels, inner, 2, 'PReLU', stride=2),
            conv_norm(inner, inner, 3, 'PReLU', padding=1),
            conv_norm(inner, out_channels, 1, None),
            nn.Dropout2d(dropout),
        )
        self.act = make_activation('PReLU', out_channels)
        self.missing = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / 2, W / 2)."""
        main = F.pad(F.max_pool2d(x, 2), (0, 0, 0, 0, 0, self.missing))
        return self.act(main + self.extension(x))


class ENetUpBottleneck(nn.Module):
    """Bottleneck that doubles the size; the main branch is max unpooling.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        dropout (float): Dropout rate of the channels of the extension in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        inner = out_channels // 4
        self.main = conv_norm(in_channels, out_channels, 1, None)
        self.extension = nn.Sequential(
            conv_norm(in_channels, inner, 1, 'ReLU'),
            conv_norm(inner, inner, 3, 'ReLU', DOUBLING, stride=2, padding=1),
            conv_norm(inner, out_channels, 1, None),
            nn.Dropout2d(dropout),
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor, pooled_from: Tensor) -> Tensor:
        """Undo one max pooling.

        The positions of the maxima are those of ``pooled_from``. They are computed again, so that
        the encoder need not return indices.

        Args:
            x (Tensor): (B, in_channels, H, W).
            pooled_from (Tensor): (B, out_channels, 2H, 2W), the encoder's input of the pooling.

        Returns:
            Tensor: (B, out_channels, 2H, 2W).
        """
        places = F.max_pool2d(pooled_from, 2, return_indices=True)[1]
        # Max unpooling with operators that can be traced and exported.
        flat = torch.zeros_like(pooled_from).flatten(2)
        main = flat.scatter(2, places.flatten(2), self.main(x).flatten(2)).view_as(pooled_from)
        return self.act(main + self.extension(x))
