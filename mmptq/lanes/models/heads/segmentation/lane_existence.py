"""Branch that tells which lane positions are taken."""

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class LaneExistence(BaseModule):
    """Existence of each lane: class shares of pooled positions, then two linear layers.

    The side network of SCNN, RESA and ENet-SAD (P1). ENet-SAD and RESA classify a feature of their
    own here; SCNN takes the class scores that its segmentation has already.

    Args:
        num_lanes (int): Number of lane positions.
        feat_size (tuple[int, int]): Height and width of the input. The linear layers hold a weight
            for each place in it, so another size of image means another branch.
        in_channels (int, optional): Of the feature that is classified. None where the scores of the
            segmentation are taken.
        dropout (float): Share of channels dropped before the classification while training.
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
                f'LaneExistence is built for features of {self.feat_size} (height, width), not '
                f'{tuple(x.shape[-2:])}: set feat_size to fit the size of the input'
            )
        x = F.avg_pool2d(x.softmax(dim=1), 2).flatten(1)
        return self.output(F.relu(self.hidden(x)))
