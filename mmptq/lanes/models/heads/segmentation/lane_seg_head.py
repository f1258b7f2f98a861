"""Lane detection by segmentation."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmptq.lanes.models.heads.lane_head import LaneHead
from mmptq.lanes.models.losses.lane_iou_loss import lane_iou_loss

from .lane_seg_decoding import LaneSegDecoding
from .lane_seg_targets import segmentation_target

# Initial logit of the background; with lane logits of 0, each lane has probability 0.04.
BACKGROUND_LOGIT = 3.0


@MODELS.register_module()
class LaneSegHead(LaneHead):
    """A class per pixel and an existence flag per lane position: SCNN, RESA, ENet, ENet-SAD.

    Positions are counted from left to right; class 0 is the background. Raw outputs are ``seg``,
    (B, num_lanes + 1, h, w) logits of any size, and ``exist``, (B, num_lanes) logits. The loss is
    cross entropy over pixels with a lower weight for the background, plus binary cross entropy of
    the existence flags and optionally ENet-SAD's IoU loss.

    Args:
        num_lanes (int): Number of lane positions: 4 in CULane, 6 for TuSimple.
        decoder (dict): Config of the module that turns features into ``seg``; its last layer is
            named ``classify``.
        existence (dict): Config of the module that turns the last feature and ``seg`` into
            ``exist``.
        lane_width (int): Thickness of lanes in training masks, in pixels of the input. CULane's
            masks use 16 pixels at a width of 1640, which is 8 at 800.
        background_weight (float): Weight of the background in the cross entropy.
        exist_weight (float): Weight of the existence loss.
        iou_weight (float): Weight of the IoU loss; 0 turns it off.
        decoding (dict, optional): Arguments of :class:`LaneSegDecoding`.
        init_cfg (dict, optional): Config.

    Example:
        >>> lane_head = dict(
        ...     type='LaneSegHead', num_lanes=4,
        ...     decoder=dict(type='LinearDecoder', num_classes=5, in_channels=128),
        ...     existence=dict(type='LaneExistence', num_lanes=4, feat_size=(36, 100)))
    """

    def __init__(
        self,
        num_lanes: int,
        decoder: dict,
        existence: dict,
        lane_width: int = 8,
        background_weight: float = 0.4,
        exist_weight: float = 0.1,
        iou_weight: float = 0.0,
        decoding: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_lanes = num_lanes
        self.decoder = MODELS.build(decoder)
        self.existence = MODELS.build(existence)
        self.lane_width = lane_width
        self.exist_weight = exist_weight
        self.iou_weight = iou_weight
        self.decoding = LaneSegDecoding(**(decoding or {}))
        weights = [background_weight] + [1.0] * num_lanes
        self.register_buffer('class_weights', torch.tensor(weights), persistent=False)

    def init_weights(self) -> None:
        """Initialise the scores to background, the class of most pixels.

        Otherwise a short training needs hundreds of iterations to learn this.
        """
        super().init_weights()
        layer = self.decoder.classify
        nn.init.normal_(layer.weight, std=0.05)
        nn.init.zeros_(layer.bias)
        nn.init.constant_(layer.bias[:1], BACKGROUND_LOGIT)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Logits of pixels and of lane positions, see the class."""
        seg = self.decoder(feats)
        return dict(seg=seg, exist=self.existence(feats[-1], seg))

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses against drawn lanes.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes`` and ``gt_lane_slots``; images of
                one size.

        Returns:
            dict[str, Tensor]: ``loss_seg``, ``loss_exist`` and, with ``iou_weight``, ``loss_iou``.
        """
        targets = [segmentation_target(s, self.num_lanes, self.lane_width) for s in data_samples]
        device = outputs['seg'].device
        classes = torch.stack([classes for classes, _ in targets]).to(device)
        exists = torch.stack([exists for _, exists in targets]).to(device)
        scores = _resize(outputs['seg'], classes.shape[-2:]).float()
        losses = dict(
            loss_seg=F.cross_entropy(scores, classes, weight=self.class_weights),
            loss_exist=self.exist_weight
            * F.binary_cross_entropy_with_logits(outputs['exist'].float(), exists),
        )
        if self.iou_weight:
            losses['loss_iou'] = self.iou_weight * lane_iou_loss(scores.softmax(dim=1), classes)
        return losses

    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes by :class:`LaneSegDecoding`.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): One per image, with ``img_shape``, ``ori_shape`` and
                ``homography_matrix``.

        Returns:
            list[list[Tensor]]: For each image its lanes, (N, 2) x and y in pixels of the input, on
            the CPU.
        """
        lanes = []
        exists = outputs['exist'].sigmoid()
        for seg, flags, sample in zip(outputs['seg'], exists, data_samples, strict=True):
            scores = _resize(seg[None], sample.metainfo['img_shape'][:2])[0]
            shares = scores.float().softmax(dim=0)[1:]
            lanes.append(self.decoding(shares, flags, sample.metainfo))
        return lanes


def _resize(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Scores (B, C, h, w) at the size (height, width) of the input."""
    if scores.shape[-2:] == tuple(size):
        return scores
    return F.interpolate(scores, size=tuple(size), mode='bilinear', align_corners=False)
