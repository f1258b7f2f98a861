"""Detectors with queries on several cameras: PETR and DETR3D of mmdet3d's projects."""

import copy
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmptq.utils.attributes import replaced_attribute
from mmptq.utils.hooks import replaced_forwards
from mmptq.utils.images import unshared_images

from .adapter import NO_FEATURES, Adapter
from .ground_truth_3d import as_ground_truths_3d
from .head_losses import get_metainfo, require_train_cfg, sum_losses
from .head_output import HeadOutput

# Entries of what the heads return; those of a two-stage head are None.
SCORES, BOXES = 'all_cls_scores', 'all_bbox_preds'
ENCODER = ('enc_cls_scores', 'enc_bbox_preds')


@TASK_UTILS.register_module()
class QueryHead3DAdapter(Adapter):
    """PETR and DETR3D, by the names of their heads.

    Positions are the queries, in fixed order; only the last layer of the decoder counts. The ten
    regressions are those that the head returns: centre x and y, width, length, centre z, height,
    sine and cosine of the yaw, velocity, in metres (sizes as logarithms).

    Raw outputs are a dict: ``cls`` (B, Q, K) logits and ``bbox`` (B, Q, 10).
    """

    head_types: ClassVar = ('PETRHead', 'DETR3DHead')

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Tensor]:
        raw = super().raw_outputs(unshared_images(data))
        return dict(cls=raw[SCORES][-1], bbox=raw[BOXES][-1])

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        softmax = not self.head.loss_cls.use_sigmoid
        regs = dict(bbox=raw['bbox'])
        return [HeadOutput(self.head_names[-1], raw['cls'], regs, softmax=softmax)]

    @torch.no_grad()
    def decode(self, raw: dict[str, Tensor], data: dict[str, Any]) -> list[BaseDataElement]:
        samples = [type(s)(metainfo=s.metainfo) for s in data['data_samples']]
        native = self._native(raw)
        with ExitStack() as stack:
            stack.enter_context(replaced_forwards({self.head: lambda *_, **__: native}))
            skip = replaced_attribute(self.model, 'extract_feat', lambda *_, **__: NO_FEATURES)
            stack.enter_context(skip)
            return self.model(**dict(data, data_samples=samples), mode='predict')

    @torch.no_grad()
    def pseudo_labels(
        self, raw: dict[str, Tensor], data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        samples = data['data_samples']
        results = self._detections(raw, samples)
        return as_ground_truths_3d(samples, results, score_thr, top_k)

    def _detections(
        self, raw: dict[str, Tensor], samples: list[BaseDataElement]
    ) -> list[InstanceData]:
        """Detections of each sample, by the head's own post-processing."""
        native, metas = self._native(raw), get_metainfo(samples)
        if not hasattr(self.head, 'get_bboxes'):
            return self.head.predict_by_feat(native, metas)
        keys = ('bboxes_3d', 'scores_3d', 'labels_3d')
        found = self.head.get_bboxes(native, metas)
        return [InstanceData(**dict(zip(keys, result, strict=True))) for result in found]

    def loss(
        self, raw: dict[str, Tensor], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """See :class:`Adapter`.

        Note:
            PETR's loss knows only one sample per batch; the samples are taken one by one and
            averaged.
        """
        require_train_cfg(self.head, self.head_names[-1])
        # The target assignment changes the boxes in place.
        objects = [copy.deepcopy(label.gt_instances_3d) for label in pseudo_labels]
        losses = [self._sample_loss(self._native(raw, i), item) for i, item in enumerate(objects)]
        return {key: sum(loss[key] for loss in losses) / len(losses) for key in losses[0]}

    def _sample_loss(self, native: dict[str, Any], objects: InstanceData) -> dict[str, Tensor]:
        if hasattr(self.head, 'get_bboxes'):  # PETR
            boxes, labels = [objects.bboxes_3d], [objects.labels_3d]
            return sum_losses(self.head.loss_by_feat(boxes, labels, native))
        return sum_losses(self.head.loss_by_feat([objects], native))

    def _native(self, raw: dict[str, Tensor], index: int | None = None) -> dict[str, Any]:
        """A copy of raw outputs as the head returns them; of one sample where it is given."""
        rows = slice(None) if index is None else slice(index, index + 1)
        values = {SCORES: raw['cls'][rows].clone()[None], BOXES: raw['bbox'][rows].clone()[None]}
        return values | dict.fromkeys(ENCODER)
