"""The anchor-based head of LaneATT."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmptq.lanes.models.heads.lane_head import LaneHead

from .lane_anchor_matching import match_lane_anchors
from .lane_anchors import LaneAnchors
from .lane_nms import lane_nms
from .row_lanes import RowLanes, lanes_to_rows, row_lane_points

INIT_CFG = dict(type='Normal', layer=['Conv2d', 'Linear'], std=0.001)


@MODELS.register_module()
class LaneATTHead(LaneHead):
    """Head of LaneATT: a score and a lane per anchor, from pooled features and attention.

    Paper: https://arxiv.org/abs/2010.12035. Raw outputs: ``logits`` (B, A, 2) of background and
    lane, and ``reg`` (B, A, 1 + S), the number of rows and an offset of x for each row, in pixels
    of the input.

    ``anchor_frequency`` or :class:`LaneAnchorHook` selects the generated anchors that match most
    lanes of the training data.

    Note:
        As in the published code (https://github.com/lucastabelini/LaneATT) and unlike equation 1,
        the heights of pooled features span the whole image and columns are rounded. Between
        annotated points lanes are straight here and splines in the published code.

    Args:
        in_channels (int): Number of channels of the last feature map.
        image_size (tuple[int, int]): Width and height of the input in pixels.
        stride (int): Stride of the last feature map in pixels.
        feat_channels (int): Number of channels after the reduction.
        num_rows (int): Number of rows S with an x, from bottom to top.
        num_anchors (int): Number of anchors A.
        anchor_generator (dict): Config.
        anchor_frequency (str, optional): File with a tensor of the number of lanes that each
            generated anchor matches.
        positive_distance (float): Anchors closer to a lane are positive. All distances are mean
            differences of x in pixels of the input.
        negative_distance (float): Anchors farther from all lanes are background.
        train_nms_distance (float): NMS distance of proposals in training.
        nms_distance (float): NMS distance of predicted lanes.
        score_thr (float): Minimum probability of a lane.
        max_lanes (int): Maximum number of lanes per image.
        loss_cls (dict): Config.
        loss_reg (dict): Config.
        init_cfg (dict): Config.

    Example:
        >>> lane_head = dict(type='LaneATTHead', in_channels=512, image_size=(640, 360))
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        stride: int = 32,
        feat_channels: int = 64,
        num_rows: int = 72,
        num_anchors: int = 1000,
        anchor_generator: dict = dict(type='LaneAnchorGenerator'),  # noqa: B006
        anchor_frequency: str | None = None,
        positive_distance: float = 15.0,
        negative_distance: float = 20.0,
        train_nms_distance: float = 15.0,
        nms_distance: float = 50.0,
        score_thr: float = 0.5,
        max_lanes: int = 4,
        loss_cls: dict = dict(type='SoftmaxFocalLoss', loss_weight=10.0),  # noqa: B006
        loss_reg: dict = dict(type='SmoothL1Loss', loss_weight=1.0),  # noqa: B006
        init_cfg: dict = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.image_size = tuple(image_size)
        self.num_rows = num_rows
        self.positive_distance = positive_distance
        self.negative_distance = negative_distance
        self.train_nms_distance = train_nms_distance
        self.nms_distance = nms_distance
        self.score_thr = score_thr
        self.max_lanes = max_lanes
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_reg = MODELS.build(loss_reg)
        self.anchors = LaneAnchors(anchor_generator, num_anchors, num_rows, image_size, stride)
        if anchor_frequency is not None:
            self.anchors.choose_by_file(anchor_frequency)
        pooled_channels = feat_channels * self.anchors.pooled_rows
        self.reduction = nn.Conv2d(in_channels, feat_channels, 1)
        self.attention = nn.Linear(pooled_channels, num_anchors - 1)
        self.cls = nn.Linear(2 * pooled_channels, 2)
        self.reg = nn.Linear(2 * pooled_channels, 1 + num_rows)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Scores and lanes of all anchors, see the class; uses the last feature map."""
        local = self.anchors.pool(self.reduction(feats[-1]))
        weights = with_empty_diagonal(self.attention(local).softmax(dim=2))
        features = torch.cat([weights @ local, local], dim=2)
        return dict(logits=self.cls(features), reg=self.reg(features))

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_reg``, means over the images."""
        losses = [
            self._loss_of_image(logits, reg, sample)
            for logits, reg, sample in zip(
                outputs['logits'], outputs['reg'], data_samples, strict=True
            )
        ]
        loss_cls, loss_reg = (torch.stack(part).mean() for part in zip(*losses, strict=True))
        return dict(loss_cls=loss_cls, loss_reg=loss_reg)

    @torch.no_grad()
    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes above the score threshold after NMS, best first."""
        lanes = []
        for logits, reg in zip(outputs['logits'], outputs['reg'], strict=True):
            scores = logits.softmax(dim=1)[:, 1]
            index = (scores > self.score_thr).nonzero().squeeze(1)
            proposals = self._proposals(reg)[index]
            kept = lane_nms(proposals, scores[index], self.nms_distance, self.max_lanes)
            lanes.append(row_lane_points(proposals[kept], *self.image_size))
        return lanes

    def _proposals(self, reg: Tensor) -> RowLanes:
        """The anchors plus the regression of one image."""
        anchors = self.anchors.lanes()
        return RowLanes(anchors.xs + reg[:, 1:], anchors.starts, reg[:, 0])

    def _loss_of_image(
        self, logits: Tensor, reg: Tensor, sample: DetDataSample
    ) -> tuple[Tensor, Tensor]:
        """Classification and regression loss of the proposals after NMS."""
        scores = logits.detach().softmax(dim=1)[:, 1]
        kept = lane_nms(self._proposals(reg.detach()), scores, self.train_nms_distance)
        targets = lanes_to_rows(sample.gt_lanes, self.num_rows, *self.image_size).to(reg.device)
        positive, negative, matched = match_lane_anchors(
            self.anchors.lanes()[kept],
            targets,
            self.positive_distance,
            self.negative_distance,
        )
        used = positive | negative
        num_positive = int(positive.sum())
        loss_cls = self.loss_cls(logits[kept[used]], positive[used].long(), max(num_positive, 1))
        if not num_positive:
            return loss_cls, reg.sum() * 0
        proposals = self._proposals(reg)[kept[positive]]
        return loss_cls, self._regression_loss(proposals, targets[matched[positive]])

    def _regression_loss(self, proposals: RowLanes, targets: RowLanes) -> Tensor:
        """Loss of the length from the anchor's start, and of x on the lane's rows."""
        rows = torch.arange(self.num_rows, device=targets.xs.device)
        lengths = targets.lengths - (proposals.starts - targets.starts)
        valid = (rows >= proposals.starts[:, None]) & (rows <= targets.ends[:, None])
        # On other rows the prediction is its own target; they still count in the mean.
        xs = torch.where(valid, targets.xs, proposals.xs.detach())
        pred = torch.cat([proposals.lengths[:, None], proposals.xs], dim=1)
        return self.loss_reg(pred, torch.cat([lengths[:, None], xs], dim=1))


def with_empty_diagonal(weights: Tensor) -> Tensor:
    """Attention weights as a square matrix with a zero diagonal.

    Args:
        weights (Tensor): (B, A, A - 1) without the diagonal.

    Returns:
        Tensor: (B, A, A).
    """
    batch, num_anchors = weights.shape[:2]
    # In row-major order A elements lie between two elements of the diagonal.
    spaced = F.pad(weights.reshape(batch, num_anchors - 1, num_anchors), (1, 0))
    return F.pad(spaced.flatten(1), (0, 1)).view(batch, num_anchors, num_anchors)
