"""Lane heads with maps of their own for each lane."""

from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import quantizers_off

from .head_output import HeadOutput, flatten_level, product_logit
from .lane_head import LaneHeadAdapter
from .raw_parts import check_parts

MAPS = ('location', 'offset', 'range')


@TASK_UTILS.register_module()
class CondLaneHeadAdapter(LaneHeadAdapter):
    """CondLaneNet: a heatmap of starts, and the maps of the float model's starts.

    Maps of float and quantized model are compared lane by lane, so both are those of the cells that
    the float model finds. These are computed for data samples without ``lane_seeds`` and stored
    there: K per image, the local maxima of the heatmap first, however low they are.

    Raw outputs are those of the head, and ``seeds`` (B, K, 2), x and y of these cells, with their
    maps ``location`` and ``offset`` (B, K, H, W) and ``range`` (B, K, H, 2). Parts are the heatmap
    and the maps. Kernels and features are none: they act through the maps.

    Note:
        ``decode`` takes the maps of the raw outputs for lanes that start at these cells. A lane
        that starts elsewhere, because another model or another heatmap says so, is computed from
        kernels and features.
    """

    head_types: ClassVar = ('CondLaneHead',)
    confidence_parts: ClassVar = {'heatmap': None, 'range': -1}
    max_seeds: ClassVar[int] = 8

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Tensor]:
        samples = data['data_samples']
        if not all('lane_seeds' in sample for sample in samples):
            self._make_seeds(data)
        raw = super().raw_outputs(data)
        seeds = torch.stack([sample.lane_seeds for sample in samples]).to(raw['heatmap'].device)
        images = torch.arange(len(seeds), device=seeds.device).repeat_interleave(seeds.shape[1])
        maps = self.head.instance_maps(raw, images, seeds.flatten(0, 1))
        return dict(
            raw, seeds=seeds, **{name: maps[name].unflatten(0, seeds.shape[:2]) for name in MAPS}
        )

    @torch.no_grad()
    def _make_seeds(self, data: dict[str, Any]) -> None:
        with quantizers_off(self.model):
            heatmap = super().raw_outputs(data)['heatmap']
        heat, kept = self.head.find_seeds(heatmap, 0.0)
        # Behind the maxima come cells with the least confidence, which hardly count.
        order = torch.where(kept, heat, -heat).flatten(1)
        best = order.topk(min(self.max_seeds, order.shape[1]), dim=1).indices
        width = heatmap.shape[3]
        for sample, cells in zip(data['data_samples'], best, strict=True):
            sample.lane_seeds = torch.stack([cells % width, cells // width], dim=1)

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        """Cells with the score of a start, and rows of lanes with column and offset there."""
        name = self.head_names[-1]
        shares = raw['location'].softmax(-1)
        columns = torch.arange(shares.shape[-1], device=shares.device, dtype=shares.dtype)
        absent, present = raw['range'].unbind(-1)
        scores = product_logit(present - absent, self._at_seeds(raw)[..., None])
        regs = dict(location=shares * columns, offset=shares * raw['offset'])
        return [
            HeadOutput(f'{name}.heatmap', flatten_level(raw['heatmap'], 1)),
            HeadOutput(
                f'{name}.rows',
                scores.flatten(1)[..., None],
                {reg: value.sum(-1).flatten(1)[..., None] for reg, value in regs.items()},
            ),
        ]

    def parts(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: raw[name] for name in ('heatmap', *MAPS)}

    def with_parts(self, raw: dict[str, Tensor], parts: dict[str, Tensor]) -> dict[str, Tensor]:
        check_parts(parts, self.parts(raw))
        return {**raw, **parts}

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each cell and each lane count by their confidence, maps on rows with the lane only."""
        score = self._at_seeds(raw).sigmoid()[..., None, None]
        row = raw['range'].softmax(-1)[..., 1:]
        return dict(
            heatmap=raw['heatmap'].sigmoid(),
            location=score * row,
            offset=score * row * raw['location'].softmax(-1),
            range=score.expand_as(row),
        )

    @staticmethod
    def _at_seeds(raw: dict[str, Tensor]) -> Tensor:
        """(B, K) logits of the seeds."""
        x, y = raw['seeds'].unbind(-1)
        return raw['heatmap'].flatten(1).gather(1, y * raw['heatmap'].shape[3] + x)
