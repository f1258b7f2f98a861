"""Feature pyramid with aggregation along lanes on the finest level."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import Tensor

from .attention_pyramid import INIT_CFG, AttentionPyramid
from .lane_feature_aggregator import LaneFeatureAggregator


@MODELS.register_module()
class DeformFPN(AttentionPyramid):
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
        super().__init__(in_channels, out_channels, init_cfg)
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
        finest = self.fuse(feats)[0]
        aggregated, points = self.aggregator(finest)
        return self.output_conv(aggregated), finest, points
