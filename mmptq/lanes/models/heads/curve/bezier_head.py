"""Head of BezierLaneNet."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmptq.lanes.models.heads.lane_head import LaneHead

from .bezier_curve import fit_bezier, sample_bezier
from .lane_assignment import assign
from .lane_encoding import input_size, lane_masks

DEGREE = 3


class _LaneMaskHead(BaseModule):
    """Segment lane pixels, an auxiliary task in training.

    Args:
        in_channels (int): Number of channels of the feature.
        channels (int): Number of hidden channels.
    """

    def __init__(self, in_channels: int, channels: int = 64) -> None:
        super().__init__()
        self.hidden = ConvModule(in_channels, channels, 3, padding=1, norm_cfg=dict(type='BN'))
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, 1, h, w) logits."""
        return self.classify(self.dropout(self.hidden(x)))


@MODELS.register_module()
class BezierHead(LaneHead):
    """One cubic Bezier curve per feature column, https://arxiv.org/abs/2203.02431.

    The feature is averaged over rows; 1D convolutions then predict a score and four control points
    for each of the Q columns. Raw outputs: ``logits`` (B, Q), ``curves`` (B, Q, 4, 2) relative to
    the input's width and height, and in training ``mask`` (B, 1, h, w), logits of lane pixels.

    Args:
        in_channels (int): Number of channels of the features.
        num_samples (int): Number of points for comparing and decoding curves.
        window (int): Size of the window of columns in which a lane has the highest score; odd.
        score_thr (float): Minimum score of a lane.
        max_lanes (int): Maximum number of lanes per image.
        lane_width (int): Thickness of lanes in the mask, in pixels of the input. CULane's masks use
            16 pixels at a width of 1640, which is 8 at 800.
        background_weight (float): Weight of background columns and pixels in the cross entropies.
        assign_power (float): Exponent of the distance in the assignment; the score has the
            exponent ``1 - assign_power``.
        x_from_column (bool): Whether x is relative to the centre of the column. The paper uses
            absolute x; without pretrained weights relative x trains faster.
        loss_cls (dict): Config of the binary loss of scores.
        loss_curve (dict): Config of the loss of points, a mean over points.
        loss_mask (dict): Config of the binary loss of the mask.

    Example:
        >>> neck = dict(type='FeatureFlipNeck', in_channels=256)
        >>> lane_head = dict(type='BezierHead', in_channels=256, score_thr=0.95)

    Note:
        Curves are fitted to the lanes after the transforms, clipped to the image; the authors fit
        once and clip the curves.
    """

    def __init__(
        self,
        in_channels: int,
        num_samples: int = 100,
        window: int = 9,
        score_thr: float = 0.5,
        max_lanes: int = 4,
        lane_width: int = 8,
        background_weight: float = 0.4,
        assign_power: float = 0.8,
        x_from_column: bool = False,
        loss_cls: dict = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.1),  # noqa: B006
        loss_curve: dict = dict(type='L1Loss', loss_weight=1.0),  # noqa: B006
        loss_mask: dict = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.75),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if window % 2 == 0:
            raise ValueError(f'BezierHead needs an odd window, got {window}')
        self.num_samples = num_samples
        self.window = window
        self.score_thr = score_thr
        self.max_lanes = max_lanes
        self.lane_width = lane_width
        self.background_weight = background_weight
        self.assign_power = assign_power
        self.x_from_column = x_from_column
        layer = dict(padding=1, bias=True, conv_cfg=dict(type='Conv1d'), norm_cfg=dict(type='BN1d'))
        self.hidden = nn.Sequential(
            *[ConvModule(in_channels, in_channels, 3, **layer) for _ in range(2)]
        )
        self.classify = nn.Conv1d(in_channels, 1, 1)
        self.regress = nn.Conv1d(in_channels, 2 * (DEGREE + 1), 1)
        self.mask_head = _LaneMaskHead(in_channels)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_curve = MODELS.build(loss_curve)
        self.loss_mask = MODELS.build(loss_mask)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs, see the class.

        Args:
            feats (Sequence[Tensor]): (B, in_channels, h, w) each: the last for lanes, the first for
                the mask.

        Returns:
            dict[str, Tensor]: Raw outputs by name.
        """
        columns = self.hidden(feats[-1].mean(dim=2))
        curves = self.regress(columns).transpose(1, 2).unflatten(2, (DEGREE + 1, 2))
        if self.x_from_column:
            num_columns = curves.shape[1]
            middles = (torch.arange(num_columns, device=curves.device) + 0.5) / num_columns
            zeros = torch.zeros_like(middles)
            curves = curves + torch.stack([middles, zeros], dim=1)[:, None]
        outputs = dict(logits=self.classify(columns).squeeze(1), curves=curves)
        if self.training:
            outputs['mask'] = self.mask_head(feats[0])
        return outputs

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses; the mask loss only if there is a mask.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes``.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_curve`` and ``loss_mask``.
        """
        logits, curves = outputs['logits'], outputs['curves']
        labels, chosen, targets = torch.zeros_like(logits), [], []
        for image, sample in enumerate(data_samples):
            points = self._target_points(sample).to(curves)
            columns, lanes = self._assign(logits[image], curves[image], points)
            labels[image, columns] = 1
            chosen.append(curves[image, columns])
            targets.append(points[lanes])
        chosen = sample_bezier(torch.cat(chosen), self.num_samples)
        count = reduce_mean(logits.new_tensor(float(len(chosen)))).clamp(min=1).item()
        losses = dict(
            loss_cls=self.loss_cls(logits, labels, self._weights(labels)),
            loss_curve=self.loss_curve(
                chosen, torch.cat(targets), avg_factor=count * self.num_samples
            ),
        )
        if 'mask' in outputs:
            losses['loss_mask'] = self._mask_loss(outputs['mask'], data_samples)
        return losses

    def lane_points(self, curves: Tensor) -> Tensor:
        """(..., T, 2) points along curves (..., 4, 2)."""
        return sample_bezier(curves, self.num_samples)

    def _target_points(self, sample: DetDataSample) -> Tensor:
        """(G, T, 2) points of the curves fitted to the lanes, relative to the input size."""
        height, width = input_size(sample)
        curves = [fit_bezier(lane.cpu().numpy(), DEGREE) for lane in sample.gt_lanes]
        curves = np.stack(curves) if curves else np.zeros((0, DEGREE + 1, 2), np.float32)
        curves = torch.as_tensor(curves, device='cpu')
        return sample_bezier(curves / curves.new_tensor([width, height]), self.num_samples)

    @torch.no_grad()
    def _assign(self, logits: Tensor, curves: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Matched columns and lanes of one image, by distance and score."""
        points = self.lane_points(curves)
        distance = torch.cdist(points.flatten(1), targets.flatten(1), p=1) / self.num_samples
        near = (1 - distance).clamp(0, 1) ** self.assign_power
        scores = logits.sigmoid() * self._peaks(logits[None])[0]
        return assign(-near * scores[:, None] ** (1 - self.assign_power))

    def _peaks(self, logits: Tensor) -> Tensor:
        """(B, Q) bool, columns with the highest score in their window."""
        best = F.max_pool1d(logits[:, None], self.window, 1, self.window // 2, return_indices=True)
        return best[1][:, 0] == torch.arange(logits.shape[1], device=logits.device)

    def _weights(self, labels: Tensor) -> Tensor:
        """1 for lanes, and the background's weight elsewhere."""
        return torch.where(labels > 0, 1.0, self.background_weight)

    def _mask_loss(self, logits: Tensor, data_samples: list[DetDataSample]) -> Tensor:
        """Loss of the mask at the size of the input; ``logits`` (B, 1, h, w)."""
        masks = lane_masks(data_samples, self.lane_width)[:, None].to(logits)
        logits = F.interpolate(logits, masks.shape[-2:], mode='bilinear', align_corners=True)
        return self.loss_mask(logits, masks, self._weights(masks))

    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Curves of the columns with the highest score in their window.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): One per image.

        Returns:
            list[list[Tensor]]: For each image (N, 2) points in pixels of the input, best lane
            first.
        """
        scores = outputs['logits'].float().sigmoid()
        scores = scores * self._peaks(outputs['logits'])
        lanes = []
        for image, sample in enumerate(data_samples):
            height, width = input_size(sample)
            best = scores[image].argsort(descending=True)[: self.max_lanes]
            best = best[scores[image, best] > self.score_thr]
            points = sample_bezier(outputs['curves'][image, best].float(), self.num_samples)
            lanes.append(list(points * points.new_tensor([width, height])))
        return lanes
