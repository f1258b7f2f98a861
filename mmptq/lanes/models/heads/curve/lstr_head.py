"""Head of LSTR."""

from collections.abc import Sequence

import torch
from mmdet.models.layers import MLP
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from mmptq.lanes.models.heads.lane_head import LaneHead

from .lane_assignment import assign
from .lane_encoding import input_size
from .lstr_targets import LSTRTargets, encode, row_weights
from .projected_curve import projected_xs

LANE = 1  # class index; 0 is the background


@MODELS.register_module()
class LSTRHead(LaneHead):
    """Lane curves from transformer queries, https://arxiv.org/abs/2011.04233.

    Raw outputs: ``logits`` (B, Q, 2) of background and lane; ``curves`` (B, Q, 8) with the upper
    and lower end and the six coefficients of :func:`projected_xs`, of which all lanes of an image
    share four; in training also ``early_logits`` (B, L, Q, 2) and ``early_curves`` (B, L, Q, 8) of
    the decoder layers before the last.

    Args:
        in_channels (int): Number of channels of the last feature.
        transformer (dict): Config of :class:`LaneTransformer`.
        num_queries (int): Number of queries Q, the maximum number of lanes per image.
        num_logits (int): Number of class logits; those after the first two are never a lane. The
            authors' CULane weights have 3.
        sort_ends (bool): Whether a lane whose upper end is below its lower end is one whose ends
            are swapped, as in the authors' CULane weights, or none.
        num_rows (int): Number of rows at which curves are compared and decoded.
        score_thr (float): Minimum probability of a lane; 0.5 selects the more likely class.
        max_lanes (int, optional): Maximum number of lanes to keep. Defaults to all queries.
        loss_cls (dict): Config of the classification loss, a mean over queries.
        loss_curve (dict): Config of the loss of x at rows, a sum over rows.
        loss_end (dict): Config of the loss of each end.

    Example:
        >>> lane_head = dict(type='LSTRHead', in_channels=128,
        ...                  transformer=dict(type='LaneTransformer', embed_dims=32))

    Note:
        The authors compare curves at the annotated points, which on TuSimple are 72 rows per image
        height. Here the rows are fixed, so that the loss does not depend on the density of the
        annotation. The costs of the assignment have the weights of the losses.
    """

    def __init__(
        self,
        in_channels: int,
        transformer: dict,
        num_queries: int = 7,
        num_logits: int = 2,
        sort_ends: bool = False,
        num_rows: int = 72,
        score_thr: float = 0.5,
        max_lanes: int | None = None,
        loss_cls: dict = dict(type='CrossEntropyLoss', loss_weight=3.0),  # noqa: B006
        loss_curve: dict = dict(type='L1Loss', loss_weight=5.0),  # noqa: B006
        loss_end: dict = dict(type='L1Loss', loss_weight=2.0),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.transformer = MODELS.build(transformer)
        dims = self.transformer.embed_dims
        self.position = MODELS.build(
            dict(type='SinePositionalEncoding', num_feats=dims // 2, normalize=True)
        )
        self.input_proj = nn.Conv2d(in_channels, dims, 1)
        self.query_embed = nn.Embedding(num_queries, dims)
        self.class_embed = nn.Linear(dims, num_logits)
        self.specific_embed = MLP(dims, dims, 4, 3)
        self.shared_embed = MLP(dims, dims, 4, 3)
        self.sort_ends = sort_ends
        self.score_thr = score_thr
        self.max_lanes = max_lanes or num_queries
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_curve = MODELS.build(loss_curve)
        self.loss_end = MODELS.build(loss_end)
        self.register_buffer('rows', torch.arange(num_rows + 1) / num_rows, persistent=False)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs, see the class; ``feats[-1]`` is (B, in_channels, h, w)."""
        x = self.input_proj(feats[-1])
        memory, places = (y.flatten(2).transpose(1, 2) for y in (x, self.position(None, x[:1])))
        hidden = self.transformer(memory, places, self.query_embed.weight)
        logits, specific = self.class_embed(hidden), self.specific_embed(hidden)
        shared = self.shared_embed(hidden).mean(dim=2, keepdim=True).expand_as(specific)
        curves = torch.cat([specific[..., :2], shared, specific[..., 2:]], dim=-1)
        outputs = dict(logits=logits[:, -1], curves=curves[:, -1])
        if self.training:
            outputs.update(early_logits=logits[:, :-1], early_curves=curves[:, :-1])
        return outputs

    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of every decoder layer, each with its own assignment.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes``.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_curve``, ``loss_top`` and ``loss_bottom``; the
            same with the prefix ``early0.`` for the first decoder layer, and so on.
        """
        targets = [encode(sample, self.rows) for sample in data_samples]
        losses = self._layer_loss(outputs['logits'], outputs['curves'], targets)
        for layer in range(outputs['early_logits'].shape[1] if 'early_logits' in outputs else 0):
            early = self._layer_loss(
                outputs['early_logits'][:, layer], outputs['early_curves'][:, layer], targets
            )
            losses.update({f'early{layer}.{name}': value for name, value in early.items()})
        return losses

    def _layer_loss(
        self, logits: Tensor, curves: Tensor, targets: list[LSTRTargets]
    ) -> dict[str, Tensor]:
        """Losses of one decoder layer; ``logits`` (B, Q, 2), ``curves`` (B, Q, 8)."""
        labels = torch.zeros_like(logits[..., 0], dtype=torch.long)
        weights = row_weights(torch.cat([target.valid for target in targets]))
        weights = weights.split([len(target) for target in targets])
        chosen, lanes = [], []
        for image, target in enumerate(targets):
            queries, order = self._assign(logits[image], curves[image], target, weights[image])
            labels[image, queries] = LANE
            chosen.append(curves[image, queries])
            parts = target.tops, target.bottoms, target.xs, target.valid, weights[image]
            lanes.append([part[order] for part in parts])
        chosen = torch.cat(chosen)
        tops, bottoms, xs, valid, weights = map(torch.cat, zip(*lanes, strict=True))
        # The mean over processes, because losses are averaged over processes too.
        count = reduce_mean(chosen.new_tensor(float(len(tops)))).clamp(min=1).item()
        return dict(
            loss_cls=self.loss_cls(logits.flatten(0, 1), labels.flatten()),
            loss_curve=self.loss_curve(
                projected_xs(chosen[:, 2:], self.rows)[valid],
                xs[valid],
                weights[:, None].expand_as(xs)[valid],
                avg_factor=count,
            ),
            loss_top=self.loss_end(chosen[:, 0], tops, avg_factor=count),
            loss_bottom=self.loss_end(chosen[:, 1], bottoms, avg_factor=count),
        )

    @torch.no_grad()
    def _assign(
        self, logits: Tensor, curves: Tensor, target: LSTRTargets, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Matched queries and lanes of one image."""
        misses = (projected_xs(curves[:, 2:], self.rows)[:, None] - target.xs).abs()
        distance = torch.where(target.valid, misses, 0).sum(dim=2) * weights
        ends = (curves[:, :1] - target.tops).abs() + (curves[:, 1:2] - target.bottoms).abs()
        return assign(
            self.loss_curve.loss_weight * distance
            + self.loss_end.loss_weight * ends
            - self.loss_cls.loss_weight * logits.softmax(dim=1)[:, LANE : LANE + 1]
        )

    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes at the fixed rows between their ends, and at the ends.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): One per image.

        Returns:
            list[list[Tensor]]: For each image (N, 2) points in input pixels, most likely first.
        """
        scores = outputs['logits'].float().softmax(dim=-1)[..., LANE]
        lanes = []
        for image, sample in enumerate(data_samples):
            height, width = input_size(sample)
            best = scores[image].argsort(descending=True)[: self.max_lanes]
            best = best[scores[image, best] > self.score_thr]
            of_image = map(self._points, outputs['curves'][image, best].float())
            size = self.rows.new_tensor([width, height])
            lanes.append([points * size for points in of_image if len(points)])
        return lanes

    def _points(self, curve: Tensor) -> Tensor:
        """(N, 2) points of one curve (8,), bottom to top, relative to the image size."""
        ends = curve[:2].clamp(0, 1)
        top, bottom = ends.sort().values if self.sort_ends else ends
        if not top < bottom:
            return curve.new_empty(0, 2)
        inside = self.rows[(self.rows > top) & (self.rows < bottom)]
        ys = torch.cat([bottom[None], inside.flip(0), top[None]])
        return torch.stack([projected_xs(curve[2:], ys), ys], dim=1)
