"""The simplest decoder for segmentation."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class LinearDecoder(BaseModule):
    """A 1x1 convolution on the last feature, as in SCNN.

    Args:
        num_classes (int): Number of output channels.
        in_channels (int): Number of channels of the last feature.
        dropout (float): Dropout rate of channels in training.
        init_cfg (dict, optional): Config.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 128,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Class scores.

        Args:
            feats (Sequence[Tensor]): The last, (B, in_channels, h, w), is used.

        Returns:
            Tensor: (B, num_classes, h, w) logits.
        """
        return self.classify(self.dropout(feats[-1]))
