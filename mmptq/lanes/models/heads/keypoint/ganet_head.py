"""The keypoint-based head of GANet."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmptq.lanes.models.heads.lane_head import LaneHead

from .keypoint_branch import HEATMAP_BIAS, MIN_SCORE, keypoint_branch
from .lane_keypoints import KeypointTargets, encode_keypoints, group_keypoints, match_points


@MODELS.register_module()
class GANetHead(LaneHead):
    """Head of GANet: a heatmap of keypoints and their offsets to the start of the lane.

    Paper: https://arxiv.org/abs/2204.07335. Takes the three outputs of :class:`DeformFPN`. Raw
    outputs: ``heatmap`` (B, 1, H, W) logits; ``offset`` (B, 2, H, W), x and y from the keypoint to
    the start of its lane; ``compensation`` (B, 2, H, W) from the cell to the keypoint, both in
    cells; in training also ``points`` (B, 2 * P, H, W) of the aggregator.

    Note:
        The published code (https://github.com/Wolfwjs/GANet) also has a heatmap of starts with loss
        weight 0, interpolates annotated lanes with splines and connects all keypoints. Here lanes
        are straight between annotated points and connect the mean keypoint of each row.

    Args:
        in_channels (int): Number of channels of the features.
        stride (int): Stride of the features in pixels.
        num_keypoints (int): Number of keypoints per lane in the heatmap target.
        num_curve_points (int): Number of points per lane that the aggregator's points are
            compared with.
        radius (int): Radius of a keypoint in the heatmap target, in cells.
        score_thr (float): Minimum probability of a keypoint.
        start_height (float): A keypoint with a smaller height above its start is a start; in cells.
        max_distance (float): Maximum distance in cells between starts of one lane, and between a
            start and the point that a keypoint refers to.
        min_keypoints (int): A predicted lane has more than this number of rows with keypoints.
        loss_heatmap (dict): Config; divided by the number of keypoints.
        loss_offset (dict): Config; mean over keypoints and coordinates.
        loss_compensation (dict): Config; mean over keypoints of the sum of coordinates.
        loss_points (dict): Config; mean over points and coordinates.
        init_cfg (dict): Config.

    Example:
        >>> lane_head = dict(type='GANetHead', in_channels=64, stride=8)
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 8,
        num_keypoints: int = 45,
        num_curve_points: int = 41,
        radius: int = 2,
        score_thr: float = 0.4,
        start_height: float = 1.0,
        max_distance: float = 5.0,
        min_keypoints: int = 10,
        loss_heatmap: dict = dict(type='GaussianFocalLoss', loss_weight=1.0),  # noqa: B006
        loss_offset: dict = dict(type='L1Loss', loss_weight=0.5),  # noqa: B006
        loss_compensation: dict = dict(type='L1Loss', loss_weight=1.0),  # noqa: B006
        loss_points: dict = dict(type='SmoothL1Loss', beta=1 / 9, loss_weight=0.2),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.stride = stride
        self.num_keypoints = num_keypoints
        self.num_curve_points = num_curve_points
        self.radius = radius
        self.score_thr = score_thr
        self.start_height = start_height
        self.max_distance = max_distance
        self.min_keypoints = min_keypoints
        self.loss_heatmap = MODELS.build(loss_heatmap)
        self.loss_offset = MODELS.build(loss_offset)
        self.loss_compensation = MODELS.build(loss_compensation)
        self.loss_points = MODELS.build(loss_points)
        self.heatmap, self.offset, self.compensation = (
            keypoint_branch(in_channels, number) for number in (1, 2, 2)
        )
        nn.init.constant_(self.heatmap[-1].bias, HEATMAP_BIAS)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs, see the class."""
        aggregated, plain, points = feats
        outputs = dict(
            heatmap=self.heatmap(aggregated),
            offset=self.offset(plain),
            compensation=self.compensation(plain),
        )
        if self.training:
            outputs['points'] = points
        return outputs

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of the heatmap, of both offsets at keypoints, and of the aggregator's points.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes``.

        Returns:
            dict[str, Tensor]: ``loss_heatmap``, ``loss_offset``, ``loss_compensation`` and, if
            there are ``points``, ``loss_points``.
        """
        heatmap = outputs['heatmap']
        targets = [self._targets(sample, heatmap.shape[2:]) for sample in data_samples]

        def tensor(name: str) -> Tensor:
            arrays = [getattr(target, name) for target in targets]
            return torch.as_tensor(np.concatenate(arrays), device=heatmap.device)

        images = np.concatenate([np.full(len(t.cells), i) for i, t in enumerate(targets)])
        images = torch.as_tensor(images, device=heatmap.device)
        x, y = tensor('cells').T
        offset, compensation = (
            outputs[name][images, :, y, x] for name in ('offset', 'compensation')
        )
        number = max(len(x), 1)
        scores = heatmap.sigmoid().clamp(MIN_SCORE, 1 - MIN_SCORE)
        losses = dict(
            loss_heatmap=self.loss_heatmap(
                scores.flatten(0, 2), tensor('heatmap'), avg_factor=number
            ),
            loss_offset=self.loss_offset(offset, tensor('offsets')),
            loss_compensation=self.loss_compensation(
                compensation, tensor('compensations'), avg_factor=number
            ),
        )
        if 'points' in outputs:
            losses['loss_points'] = self._points_loss(outputs['points'], targets)
        return losses

    @torch.no_grad()
    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes from keypoints that are local maxima in their row."""
        heat = outputs['heatmap'].sigmoid()
        peaks = (heat == F.max_pool2d(heat, (1, 3), 1, (0, 1))) & (heat > self.score_thr)
        lanes = []
        for peak, offset, compensation in zip(
            peaks[:, 0], outputs['offset'], outputs['compensation'], strict=True
        ):
            y, x = peak.nonzero().T
            cells = torch.stack([x, y], dim=1)
            keypoints = (cells + compensation[:, y, x].T).double().cpu().numpy()
            groups = group_keypoints(
                keypoints,
                y.cpu().numpy(),
                offset[:, y, x].T.double().cpu().numpy(),
                self.start_height,
                self.max_distance,
            )
            lanes.append(
                [
                    torch.as_tensor(group * self.stride, dtype=torch.float32, device=heat.device)
                    for group in groups
                    if len(group) > self.min_keypoints
                ]
            )
        return lanes

    def _targets(self, sample: DetDataSample, shape: tuple[int, int]) -> KeypointTargets:
        """Targets of one image on a feature map of this height and width."""
        lanes = [lane.cpu().numpy().astype(np.float64) / self.stride for lane in sample.gt_lanes]
        return encode_keypoints(
            lanes, tuple(shape), self.num_keypoints, self.num_curve_points, self.radius
        )

    def _points_loss(self, outputs: Tensor, targets: list[KeypointTargets]) -> Tensor:
        """Loss of the points predicted at each cell along a lane, against points of that lane."""
        preds, matched = [outputs.new_zeros(0, outputs.shape[1] // 2, 2)], []
        for output, target in zip(outputs, targets, strict=True):
            cells = target.curves.reshape(-1, 2)
            x, y = torch.as_tensor(cells, device=outputs.device).T
            # Pairs (y, x) become (x, y).
            points = output[:, y, x].T.unflatten(1, (-1, 2)).flip(2)
            preds.append(points + torch.stack([x, y], dim=1)[:, None])
            curves = np.repeat(target.curves, self.num_curve_points, axis=0)
            matched.append(match_points(preds[-1].detach().float().cpu().numpy(), curves))
        target = torch.as_tensor(np.concatenate(matched), device=outputs.device)
        return self.loss_points(torch.cat(preds), target.to(outputs.dtype))
