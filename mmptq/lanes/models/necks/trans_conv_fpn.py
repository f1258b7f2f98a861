"""Feature pyramid with attention on its coarsest level."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import Tensor, nn

from .attention_pyramid import INIT_CFG, AttentionPyramid


@MODELS.register_module()
class TransConvFPN(AttentionPyramid):
    """Neck of CondLaneNet: attention on the coarsest level, top-down sums, a convolution per level.

    Paper: https://arxiv.org/abs/2105.05003, figure 2 and section 3.2.

    Note:
        The published code (https://github.com/aliyun/conditional-lane-detection) also returns the
        coarsest level, which its head does not use; only the finest levels are returned here.

    Args:
        in_channels (Sequence[int]): Numbers of channels of the backbone's levels, finest first.
        out_channels (int): Number of channels of all levels of the pyramid.
        num_outs (int): Number of levels that are returned, from the finest on.
        init_cfg (dict): Config.

    Example:
        >>> neck = dict(type='TransConvFPN', in_channels=[128, 256, 512], out_channels=64)
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int = 2,
        init_cfg: dict = INIT_CFG,
    ) -> None:
        super().__init__(in_channels, out_channels, init_cfg)
        self.fpn_convs = nn.ModuleList(
            ConvModule(out_channels, out_channels, 3, padding=1, act_cfg=None)
            for _ in range(num_outs)
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the levels.

        Args:
            feats (Sequence[Tensor]): Features of the backbone, finest first.

        Returns:
            tuple[Tensor, ...]: (B, out_channels, H, W) each, finest first.
        """
        fused = self.fuse(feats)[: len(self.fpn_convs)]
        return tuple(conv(level) for conv, level in zip(self.fpn_convs, fused, strict=True))
