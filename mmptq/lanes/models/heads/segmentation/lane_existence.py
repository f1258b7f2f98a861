"""Branch that predicts which lane positions exist."""

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class LaneExistence(BaseModule):
    """Existence of each lane: pooled class probabilities, then two linear layers.

    The side branch of SCNN, RESA and ENet-SAD (P1). ENet-SAD and RESA classify a separate feature;
    SCNN uses the class scores of its segmentation.

    Args:
        num_lanes (int): Number of lane positions.
        feat_size (tuple[int, int]): Height and width of the input. The linear layers have a weight
            per position, so each image size needs its own branch.
        in_channels (int, optional): Number of channels of the classified feature. None uses the
            scores of the segmentation.
        dropout (float): Dropout rate of channels before the classification in training.
        init_cfg (dict, optional): Config.
    """

    def __init__(
        self,
        num_lanes: int,
        feat_size: tuple[int, int],
        in_channels: int | None = None,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.feat_size = tuple(feat_size)
        self.classify = None
        if in_channels is not None:
            self.classify = nn.Sequential(
                nn.Dropout2d(dropout), nn.Conv2d(in_channels, num_lanes + 1, 1)
            )
        places = (feat_size[0] // 2) * (feat_size[1] // 2)
        self.hidden = nn.Linear((num_lanes + 1) * places, 128)
        self.output = nn.Linear(128, num_lanes)

    def forward(self, features: Tensor, scores: Tensor) -> Tensor:
        """Logits of existence.

        Args:
            features (Tensor): (B, in_channels, h, w).
            scores (Tensor): (B, num_lanes + 1, h, w) logits of the segmentation.

        Returns:
            Tensor: (B, num_lanes) logits.
        """
        x = scores if self.classify is None else self.classify(features)
        if x.shape[-2:] != self.feat_size:
            raise ValueError(
                f'LaneExistence expects features of {self.feat_size} (height, width), got '
                f'{tuple(x.shape[-2:])}: set feat_size to match the size of the input'
            )
        x = F.avg_pool2d(x.softmax(dim=1), 2).flatten(1)
        return self.output(F.relu(self.hidden(x)))
