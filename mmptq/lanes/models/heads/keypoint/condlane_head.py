"""The head of CondLaneNet with one location map per lane."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmptq.lanes.models.heads.lane_head import LaneHead

from .conditional_maps import dynamic_convolution, mean_column, with_given_maps
from .conditional_targets import ConditionalTargets, encode_conditional
from .keypoint_branch import HEATMAP_BIAS, MIN_SCORE, keypoint_branch
from .lane_seeds import keep_apart
from .row_range import RowRange


@MODELS.register_module()
class CondLaneHead(LaneHead):
    """Head of CondLaneNet: starts of lanes, and a convolution for each that finds its points.

    Paper: https://arxiv.org/abs/2105.05003. Takes features at ``stride`` and at twice this stride.
    Raw outputs: ``heatmap`` (B, 1, h, w) logits of the starts; ``location_kernel`` and
    ``offset_kernel`` (B, 3 + C, h, w), at each start the weights for x, y and the features, and the
    bias, of the 1x1 convolutions that give its maps; ``features`` (B, C, H, W) that these take.

    The maps of a start (:meth:`instance_maps`) are part of decoding: ``location`` (H, W), logits of
    a softmax in each row whose mean column is the lane; ``offset`` (H, W) from the cell to the
    lane, in cells; ``range`` (H, 2) logits of rows without and with the lane. If the outputs also
    hold ``seeds`` (B, K, 2), x and y of cells, and ``location``, ``offset`` and ``range`` of them,
    :meth:`decode` takes these maps where it finds a lane at one of these cells.

    Note:
        As in the published code (https://github.com/aliyun/conditional-lane-detection) there is one
        dynamic layer per map, x and y are cells, and 2.19 is subtracted from both maps. There the
        recurrent module, which gives several lanes of one start, is used for CurveLanes only, so
        it is left out here. Other differences: the heatmap also has a loss where a batch has no
        more than two lanes; offsets are learned up to ``offset_reach`` cells to both sides; of
        close starts the best remains, not the last.

    Args:
        in_channels (int): Number of channels of the input features.
        image_size (tuple[int, int]): Width and height of the input in pixels.
        stride (int): Stride of the maps in pixels; the heatmap has twice this stride.
        feat_channels (int): Number of channels C of the features of the maps.
        radius (int): Radius of a start in the heatmap target, in cells.
        num_seeds (int): Number of cells at each start that have to give the lane in training.
        offset_reach (float): Offsets are learned in cells closer to the lane along x.
        score_thr (float): Minimum probability of a start.
        nms_radius (float): Starts that are no farther from a better one are left out, in cells of
            the heatmap.
        loss_heatmap (dict): Config; divided by the number of lanes.
        loss_location (dict): Config; mean over rows with a lane.
        loss_offset (dict): Config; mean over cells close to a lane.
        loss_range (dict): Config; mean over rows.
        init_cfg (dict): Config.

    Example:
        >>> lane_head = dict(type='CondLaneHead', in_channels=64, image_size=(800, 320))
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        stride: int = 8,
        feat_channels: int = 64,
        radius: int = 6,
        num_seeds: int = 5,
        offset_reach: float = 6.0,
        score_thr: float = 0.5,
        nms_radius: float = 4.0,
        loss_heatmap: dict = dict(type='GaussianFocalLoss', loss_weight=1.0),  # noqa: B006
        loss_location: dict = dict(type='L1Loss', loss_weight=1.0),  # noqa: B006
        loss_offset: dict = dict(type='L1Loss', loss_weight=0.4),  # noqa: B006
        loss_range: dict = dict(type='CrossEntropyLoss', loss_weight=1.0),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.stride = stride
        self.radius = radius
        self.num_seeds = num_seeds
        self.offset_reach = offset_reach
        self.score_thr = score_thr
        self.nms_radius = nms_radius
        self.loss_heatmap = MODELS.build(loss_heatmap)
        self.loss_location = MODELS.build(loss_location)
        self.loss_offset = MODELS.build(loss_offset)
        self.loss_range = MODELS.build(loss_range)
        self.heatmap, self.kernels = (
            keypoint_branch(in_channels, number) for number in (1, 2 * (feat_channels + 3))
        )
        nn.init.constant_(self.heatmap[-1].bias, HEATMAP_BIAS)
        for layer in (self.kernels[0], self.kernels[-1]):
            nn.init.zeros_(layer.bias)
        self.feature_convs = nn.Sequential(
            *(
                ConvModule(channels, feat_channels, 3, padding=1, norm_cfg=dict(type='BN'))
                for channels in (in_channels, feat_channels, feat_channels)
            )
        )
        self.row_range = RowRange(image_size[0] // stride)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs, see the class."""
        fine, coarse = feats
        location, offset = self.kernels(coarse).chunk(2, dim=1)
        return dict(
            heatmap=self.heatmap(coarse),
            location_kernel=location,
            offset_kernel=offset,
            features=self.feature_convs(fine),
        )

    def instance_maps(
        self, outputs: dict[str, Tensor], images: Tensor, cells: Tensor
    ) -> dict[str, Tensor]:
        """The maps of some starts; gradients flow into kernels and features.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            images (Tensor): (N,) int64, indices in the batch.
            cells (Tensor): (N, 2) int64, x and y of cells of the heatmap.

        Returns:
            dict[str, Tensor]: ``location`` and ``offset`` (N, H, W), ``range`` (N, H, 2).
        """
        x, y = cells.T
        features = outputs['features'][images]
        location, offset = (
            dynamic_convolution(features, outputs[name][images, :, y, x])
            for name in ('location_kernel', 'offset_kernel')
        )
        return dict(location=location, offset=offset, range=self.row_range(location))

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of the heatmap and of the maps of labelled starts.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes``.

        Returns:
            dict[str, Tensor]: ``loss_heatmap``, ``loss_location``, ``loss_offset`` and
            ``loss_range``.
        """
        heatmap = outputs['heatmap']
        shapes = tuple(outputs['features'].shape[2:]), tuple(heatmap.shape[2:])
        targets = [self._targets(sample, *shapes) for sample in data_samples]
        images, cells, columns, rows = (
            torch.as_tensor(array, device=heatmap.device) for array in self._training_seeds(targets)
        )
        starts = torch.as_tensor(np.stack([t.heatmap for t in targets]), device=heatmap.device)
        scores = heatmap[:, 0].sigmoid().clamp(MIN_SCORE, 1 - MIN_SCORE)
        number = max(sum(len(target.starts) for target in targets), 1)
        maps = self.instance_maps(outputs, images, cells)
        return dict(
            loss_heatmap=self.loss_heatmap(scores, starts, avg_factor=number),
            **self._map_losses(maps, columns, rows),
        )

    @torch.no_grad()
    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes of starts above the score threshold, best first."""
        heat, kept = self.find_seeds(outputs['heatmap'], self.score_thr)
        images, y, x = kept.nonzero().T
        order = torch.argsort(heat[images, y, x], descending=True, stable=True)
        images, cells = images[order], torch.stack([x, y], dim=1)[order]
        maps = self.instance_maps(outputs, images, cells)
        if 'seeds' in outputs:
            maps = with_given_maps(maps, outputs, images, cells)
        lanes = [[] for _ in heat]
        for image, points in zip(images.tolist(), self._to_points(maps), strict=True):
            if len(points) > 1:
                lanes[image].append(points)
        return lanes

    @torch.no_grad()
    def find_seeds(self, heatmap: Tensor, score_thr: float) -> tuple[Tensor, Tensor]:
        """Probabilities, and cells that are maxima of their neighbours and apart from better ones.

        Args:
            heatmap (Tensor): (B, 1, h, w) logits.
            score_thr (float): Seeds have a higher probability.

        Returns:
            tuple[Tensor, Tensor]: (B, h, w) probabilities and (B, h, w) bool.
        """
        heat = heatmap[:, 0].sigmoid()
        peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > score_thr)
        kept = [keep_apart(*pair, self.nms_radius) for pair in zip(heat, peaks, strict=True)]
        return heat, torch.stack(kept)

    def _targets(
        self, sample: DetDataSample, map_shape: tuple[int, int], heat_shape: tuple[int, int]
    ) -> ConditionalTargets:
        """Targets of one image."""
        lanes = [lane.cpu().numpy().astype(np.float64) / self.stride for lane in sample.gt_lanes]
        return encode_conditional(lanes, map_shape, heat_shape, self.radius)

    def _training_seeds(self, targets: list[ConditionalTargets]) -> tuple[np.ndarray, ...]:
        """Image, cell, columns and rows of each of N seeds.

        In training some cells around each start are seeds, drawn at random; otherwise only the
        start itself is.
        """
        images, cells, owners = [np.empty(0, np.int64)], [np.empty((0, 2), np.int64)], []
        lanes = [(image, lane) for image, t in enumerate(targets) for lane in range(len(t.starts))]
        for owner, (image, lane) in enumerate(lanes):
            seeds = targets[image].seeds(lane)
            others = torch.randperm(len(seeds) - 1, device='cpu').numpy() + 1
            number = self.num_seeds if self.training else 1
            seeds = seeds[[0, *others[: number - 1]]]
            cells.append(seeds)
            images.append(np.full(len(seeds), image))
            owners += [owner] * len(seeds)
        columns, rows = (
            np.concatenate([getattr(target, name) for target in targets])
            for name in ('columns', 'rows')
        )
        return np.concatenate(images), np.concatenate(cells), columns[owners], rows[owners]

    def _map_losses(
        self, maps: dict[str, Tensor], columns: Tensor, rows: Tensor
    ) -> dict[str, Tensor]:
        """Losses of N maps, against x (N, H) in cells at the rows (N, H) bool of their lanes."""
        if not len(columns):
            return {f'loss_{name}': value.sum() * 0 for name, value in maps.items()}
        # The middle of a cell is half a cell from its x, as in the published code.
        middle = mean_column(maps['location']) + 0.5
        offsets = columns[..., None] - torch.arange(maps['offset'].shape[2], device=rows.device)
        close = (offsets.abs() < self.offset_reach) & rows[..., None]
        return dict(
            loss_location=self.loss_location(
                middle, columns, rows.to(middle.dtype), avg_factor=max(int(rows.sum()), 1)
            ),
            loss_offset=self.loss_offset(
                maps['offset'], offsets, close.to(middle.dtype), avg_factor=max(int(close.sum()), 1)
            ),
            loss_range=self.loss_range(maps['range'].flatten(0, 1), rows.flatten().long()),
        )

    def _to_points(self, maps: dict[str, Tensor]) -> list[Tensor]:
        """Points of each lane in pixels, bottom to top, one row farther than its range."""
        columns = mean_column(maps['location']).long()
        xs = columns + maps['offset'].gather(2, columns[..., None])[..., 0]
        rows = torch.arange(columns.shape[1], device=columns.device)
        reached = maps['range'].argmax(2) == 1
        first = torch.where(reached, rows, len(rows)).amin(1, keepdim=True) - 1
        last = torch.where(reached, rows, -1).amax(1, keepdim=True) + 1
        shown = (rows >= first) & (rows <= last) & reached.any(1, keepdim=True)
        points = self.stride * torch.stack([xs, rows.expand_as(xs).to(xs.dtype)], dim=2)
        return [lane[of_lane].flip(0) for lane, of_lane in zip(points, shown, strict=True)]
