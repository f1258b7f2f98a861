"""The head of CLRNet."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmptq.lanes.models.heads.lane_head import LaneHead

from .lane_nms import lane_nms
from .lane_priors import initial_priors, line_xs
from .line_lanes import LineLanes, lanes_to_lines
from .prior_assignment import assign_priors
from .pyramid_mask_head import PyramidMaskHead
from .roi_gather import ROIGather
from .row_lanes import RowLanes, row_lane_points

RAW_NAMES = ('logits', 'lines', 'offsets')
INIT_CFG = dict(
    type='Normal',
    layer=[],
    override=[dict(type='Normal', name=n, std=0.001) for n in ('classify', 'locate', 'offset')],
)


@MODELS.register_module()
class CLRHead(LaneHead):
    """Cross layer refinement of CLRNet: learned lines that each pyramid level moves to the lanes.

    Paper: https://arxiv.org/abs/2203.10350. From the coarsest level to the finest, features along
    the lines (:class:`ROIGather`) give a score, a correction of start and angle, a length and an
    offset of x for each row. The next stage goes on from the corrected lines; in training no
    gradient flows through them.

    Raw outputs of the last stage: ``logits`` (B, A, 2) of background and lane; ``lines`` (B, A, 4)
    with y of the start above the lower border, x of the start, angle in units of pi, and length;
    ``offsets`` (B, A, S) of x from the line at each row, from bottom to top. Lengths are shares of
    the height, y too; x and offsets are shares of the width. In training also ``early_logits``,
    ``early_lines`` and ``early_offsets`` (B, L - 1, A, ...) of the stages before, and ``mask``.
    A prior keeps its index in all stages.

    Args:
        in_channels (int): Number of channels of each feature map.
        image_size (tuple[int, int]): Width and height of the input in pixels.
        num_stages (int): Number of stages L; the last L feature maps are used.
        num_priors (int): Number of lines A.
        num_rows (int): Number of rows S with an x, from bottom to top.
        gather (dict, optional): Arguments of :class:`ROIGather`, such as ``num_points``.
        mask_head (dict, optional): Arguments of :class:`PyramidMaskHead`.
        nms_distance (float): NMS distance of lanes, mean difference of x in pixels of the input.
        score_thr (float): Minimum probability of a lane.
        max_lanes (int): Maximum number of lanes per image.
        loss_cls (dict): Config of the classification loss, a sum divided by the number of lanes.
        loss_line (dict): Config of the loss of start, angle and length, in rows, pixels, degrees
            and rows.
        loss_iou (dict): Config of the loss of x at rows.
        init_cfg (dict): Config.

    Example:
        >>> neck = dict(type='FPN', in_channels=[128, 256, 512], out_channels=64, num_outs=3)
        >>> lane_head = dict(type='CLRHead', in_channels=64, image_size=(800, 320))

    Note:
        All lanes of an image are targets, not only the first ``max_lanes``; between annotated
        points they are straight here and splines in the published code
        (https://github.com/Turoad/CLRNet), whose one regression layer is ``locate`` and ``offset``
        here, so that its two kinds of outputs can have different precisions.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_stages: int = 3,
        num_priors: int = 192,
        num_rows: int = 72,
        gather: dict | None = None,
        mask_head: dict | None = None,
        nms_distance: float = 50.0,
        score_thr: float = 0.4,
        max_lanes: int = 4,
        loss_cls: dict = dict(type='SoftmaxFocalLoss', loss_weight=2.0),  # noqa: B006
        loss_line: dict = dict(type='SmoothL1Loss', loss_weight=0.2),  # noqa: B006
        loss_iou: dict = dict(type='LineIoULoss', loss_weight=2.0),  # noqa: B006
        init_cfg: dict = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.image_size = tuple(image_size)
        self.num_stages = num_stages
        self.num_rows = num_rows
        self.nms_distance = nms_distance
        self.score_thr = score_thr
        self.max_lanes = max_lanes
        self.priors = nn.Embedding.from_pretrained(initial_priors(num_priors), freeze=False)
        gather = gather or {}
        self.gather = ROIGather(in_channels, num_priors, num_stages=num_stages, **gather)
        self.mask_head = PyramidMaskHead(in_channels, num_stages, **(mask_head or {}))
        self.cls_branch = two_layers(in_channels)
        self.reg_branch = two_layers(in_channels)
        self.classify = nn.Linear(in_channels, 2)
        self.locate = nn.Linear(in_channels, 4)
        self.offset = nn.Linear(in_channels, num_rows)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_line = MODELS.build(loss_line)
        self.loss_iou = MODELS.build(loss_iou)
        # Points are at heights of rows, from top to bottom.
        num_points = gather.get('num_points', 36)
        rows = (torch.linspace(0, 1, num_points, device='cpu') * (num_rows - 1)).floor().flip(0)
        self.register_buffer('point_heights', rows / (num_rows - 1), persistent=False)
        heights = torch.linspace(0, 1, num_rows, device='cpu')
        self.register_buffer('row_heights', heights, persistent=False)

    @property
    def aspect(self) -> float:
        """Height of the image divided by the distance of its outer columns."""
        width, height = self.image_size
        return height / (width - 1)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs, see the class.

        Args:
            feats (Sequence[Tensor]): (B, in_channels, h, w) each, the finest first.

        Returns:
            dict[str, Tensor]: Raw outputs by name.
        """
        feats = feats[-self.num_stages :]
        lines = self.priors.weight.expand(len(feats[0]), -1, -1)
        reduced, stages = [], []
        for stage, feature in enumerate(reversed(feats)):
            reduced.append(self.gather.reduce(self._sample(feature, lines), stage))
            priors = self.gather(reduced, feature)
            regressed = self.reg_branch(priors)
            moves = self.locate(regressed)
            moved = lines + moves[..., :3]
            if self.training or stage == self.num_stages - 1:
                outputs = (
                    self.classify(self.cls_branch(priors)),
                    torch.cat([moved, moves[..., 3:]], dim=-1),
                    self.offset(regressed),
                )
                stages.append(dict(zip(RAW_NAMES, outputs, strict=True)))
            lines = moved.detach() if self.training else moved
        *early, outputs = stages
        if early:
            names = [(name, f'early_{name}') for name in outputs]
            early = {to: torch.stack([stage[name] for stage in early], 1) for name, to in names}
            outputs.update(early)
        if self.training:
            outputs['mask'] = self.mask_head(feats)
        return outputs

    def _sample(self, feature: Tensor, lines: Tensor) -> Tensor:
        """Features (B, C, A, P) at the points of lines (B, A, 3), zero outside the image."""
        xs = line_xs(lines, self.point_heights, self.aspect)
        ys = (1 - self.point_heights).expand_as(xs)
        grid = torch.stack([xs, ys], dim=-1) * 2 - 1
        return F.grid_sample(feature, grid, align_corners=True)

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses, means over stages and images; each stage assigns anew.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes`` and, for the mask,
                ``gt_lane_slots``.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_line``, ``loss_iou``, and ``loss_mask`` if there
            is a mask.
        """
        device = outputs['logits'].device
        targets = [
            lanes_to_lines(sample.gt_lanes, self.num_rows, self.image_size).to(device)
            for sample in data_samples
        ]
        losses = [
            self._loss_of_image(*of_image, target)
            for stage in self._stages(outputs)
            for *of_image, target in zip(*stage, targets, strict=True)
        ]
        names = ('loss_cls', 'loss_line', 'loss_iou')
        means = [torch.stack(part).mean() for part in zip(*losses, strict=True)]
        losses = dict(zip(names, means, strict=True))
        if 'mask' in outputs:
            losses['loss_mask'] = self.mask_head.loss(outputs['mask'], data_samples)
        return losses

    @staticmethod
    def _stages(outputs: dict[str, Tensor]) -> list[list[Tensor]]:
        """Logits, lines and offsets of all stages that the outputs hold."""
        last = [outputs[name] for name in RAW_NAMES]
        if 'early_logits' not in outputs:
            return [last]
        early = [outputs[f'early_{name}'].unbind(dim=1) for name in RAW_NAMES]
        return [*zip(*early, strict=True), last]

    def _lanes(self, lines: Tensor, offsets: Tensor) -> LineLanes:
        """Raw outputs of one image, (A, 4) and (A, S), in pixels, degrees and rows."""
        lines = lines.float()
        last_row, last_column = self.num_rows - 1, self.image_size[0] - 1
        xs = line_xs(lines, self.row_heights, self.aspect) + offsets.float()
        lines = lines * lines.new_tensor([last_row, last_column, 180.0, last_row])
        starts = lines[:, 0].detach().round().clamp(0, last_row)
        return LineLanes(lines, RowLanes(xs * last_column, starts, lines[:, 3].round()))

    def _loss_of_image(
        self, logits: Tensor, lines: Tensor, offsets: Tensor, targets: LineLanes
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classification, line and IoU loss of one stage."""
        labels = torch.zeros_like(logits[:, 0], dtype=torch.long)
        if not len(targets):
            nothing = (lines.sum() + offsets.sum()) * 0
            return self.loss_cls(logits, labels), nothing, nothing
        preds = self._lanes(lines, offsets)
        scores = logits.float().softmax(dim=1)[:, 1]
        row_height = self.image_size[1] / (self.num_rows - 1)
        chosen, lanes = assign_priors(preds, scores, targets, row_height, self.loss_iou.radius)
        labels[chosen] = 1
        preds, matched = preds[chosen], targets[lanes]
        wanted = matched.lines.clone()
        wanted[:, 3] -= preds.rows.starts - matched.rows.starts
        return (
            self.loss_cls(logits, labels, len(targets)),
            self.loss_line(preds.lines, wanted),
            self.loss_iou(preds.rows.xs, matched.rows.xs, matched.rows.shown),
        )

    @torch.no_grad()
    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes of the last stage above the score threshold after NMS, best first.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): One per image.

        Returns:
            list[list[Tensor]]: For each image (N, 2) points in pixels of the input.
        """
        lanes = []
        for logits, *raw in zip(*(outputs[name] for name in RAW_NAMES), strict=True):
            scores = logits.float().softmax(dim=1)[:, 1]
            index = (scores > self.score_thr).nonzero().squeeze(1)
            found = self._lanes(*(tensor[index] for tensor in raw)).rows
            kept = lane_nms(found, scores[index], self.nms_distance, self.max_lanes)
            lanes.append(row_lane_points(found[kept], *self.image_size))
        return lanes


def two_layers(channels: int) -> nn.Sequential:
    """Two linear layers with ReLU."""
    return nn.Sequential(
        *(layer for _ in range(2) for layer in (nn.Linear(channels, channels), nn.ReLU()))
    )
