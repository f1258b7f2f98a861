"""The branch of CLRNet that segments lanes in training."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional as F

from mmptq.lanes.models.decoders.linear_decoder import LinearDecoder
from mmptq.lanes.models.heads.segmentation.lane_seg_targets import segmentation_target


class PyramidMaskHead(BaseModule):
    """A class per pixel from all levels of a pyramid, joined at the size of the finest.

    Args:
        channels (int): Channels C of each level.
        num_levels (int): Number of levels.
        num_lanes (int): Number of lane positions: 4 in CULane, 6 for TuSimple.
        lane_width (int): Thickness of lanes in the masks, in pixels of the input.
        background_weight (float): Weight of the background in the cross entropy.
        loss_weight (float): Weight of the loss.
    """

    def __init__(
        self,
        channels: int,
        num_levels: int,
        num_lanes: int = 4,
        lane_width: int = 8,
        background_weight: float = 0.4,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_lanes = num_lanes
        self.lane_width = lane_width
        self.loss_weight = loss_weight
        self.decoder = LinearDecoder(num_lanes + 1, channels * num_levels)
        weights = [background_weight] + [1.0] * num_lanes
        self.register_buffer('class_weights', torch.tensor(weights), persistent=False)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits of pixels.

        Args:
            feats (Sequence[Tensor]): (B, C, h, w) levels, the finest first.

        Returns:
            Tensor: (B, 1 + num_lanes, h, w) at the size of the finest level.
        """
        size = feats[0].shape[-2:]
        levels = [F.interpolate(x, size, mode='bilinear', align_corners=False) for x in feats]
        return self.decoder([torch.cat(levels, dim=1)])

    def loss(self, logits: Tensor, data_samples: list[DetDataSample]) -> Tensor:
        """Cross entropy with drawn lanes.

        Args:
            logits (Tensor): From :meth:`forward`.
            data_samples (list[DetDataSample]): Of one size.

        Returns:
            Tensor: Scalar.
        """
        drawn = [segmentation_target(s, self.num_lanes, self.lane_width) for s in data_samples]
        classes = torch.stack([classes for classes, _ in drawn]).to(logits.device)
        scores = F.interpolate(logits.float(), classes.shape[-2:], mode='bilinear')
        return self.loss_weight * F.cross_entropy(scores, classes, weight=self.class_weights)
