"""The head of YOLOv3."""

from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmptq.utils import trees

from .adapter import Adapter
from .dense_head import best_results
from .ground_truth import as_ground_truths
from .head_losses import loss_on_labels, require_train_cfg
from .head_output import HeadOutput, product_logit
from .raw_parts import check_parts

BOX, OBJECT = 4, 1  # values per anchor before its class scores


@TASK_UTILS.register_module()
class YOLOV3HeadAdapter(Adapter):
    """YOLOv3: one map per level with boxes, objectness and class scores of each anchor.

    Raw outputs are ``([map, ...],)``; a map is (B, A (5 + K), H, W). Parts are ``bbox.0``
    (B, A, 4, H, W), ``quality.0`` (B, A, 1, H, W; the objectness) and ``cls.0`` (B, A, K, H, W).
    """

    head_types: ClassVar = ('YOLOV3Head',)

    def parts(self, raw: tuple[tuple[Tensor, ...]]) -> dict[str, Tensor]:
        maps = [self._by_anchor(x) for x in raw[0]]
        slices = dict(
            bbox=slice(BOX), quality=slice(BOX, BOX + OBJECT), cls=slice(BOX + OBJECT, None)
        )
        return {
            f'{name}.{level}': x[:, :, part]
            for name, part in slices.items()
            for level, x in enumerate(maps)
        }

    def with_parts(self, raw: tuple[tuple[Tensor, ...]], parts: dict[str, Tensor]) -> Any:
        known = self.parts(raw)
        check_parts(parts, known)
        parts = {**known, **parts}
        maps = [
            torch.cat([parts[f'{name}.{level}'] for name in ('bbox', 'quality', 'cls')], 2)
            for level in range(len(raw[0]))
        ]
        return (tuple(x.flatten(1, 2) for x in maps),)

    def _by_anchor(self, x: Tensor) -> Tensor:
        """A map (B, A (5 + K), H, W) as (B, A, 5 + K, H, W)."""
        return x.unflatten(1, (self.head.num_base_priors, self.head.num_attrib))

    def outputs(self, raw: tuple[tuple[Tensor, ...]]) -> list[HeadOutput]:
        head, maps = self.head, raw[0]
        # Positions in the order of the anchors: row, column, anchor.
        flat = [self._by_anchor(x).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in maps]
        anchors = head.prior_generator.grid_priors(
            [tuple(x.shape[-2:]) for x in maps], dtype=maps[0].dtype, device=maps[0].device
        )
        boxes = []
        for x, priors, stride in zip(flat, anchors, head.featmap_strides, strict=True):
            deltas = torch.cat((x[..., :2].sigmoid(), x[..., 2:BOX]), -1)
            boxes.append(head.bbox_coder.decode(priors.expand(len(x), -1, -1), deltas, stride))
        rows = torch.cat(flat, 1)
        regs = dict(bbox=rows[..., :BOX], quality=rows[..., BOX : BOX + OBJECT])
        scores = product_logit(rows[..., BOX + OBJECT :], regs['quality'])
        return [HeadOutput(self.head_names[-1], scores, regs, torch.cat(boxes, 1))]

    @torch.no_grad()
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        samples = data['data_samples']
        results = best_results(self.head, raw, samples, score_thr, top_k)
        return as_ground_truths(samples, results, score_thr, top_k)

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        require_train_cfg(self.head, self.head_names[-1])
        return loss_on_labels(self.head, trees.clone_tensors(raw), pseudo_labels)
