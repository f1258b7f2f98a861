"""Cascade R-CNN: several box heads, each on the boxes of the one before."""

from typing import Any

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmptq.quantization import quantizers_off
from mmptq.utils import trees
from mmptq.utils.detector_parts import BOX_HEADS, ROI_BOX_HEAD, ROI_HEAD, ROI_MASK_HEAD, RPN_HEAD

from .anchor_head import AnchorHeadAdapter
from .head_losses import get_metainfo, require_train_cfg
from .head_output import HeadOutput
from .mask_rows import keep_mask_boxes, mask_inputs, mask_loss, mask_output
from .parts import matches_head
from .roi_rows import box_loss, box_output, boxes_of_class, split_rows
from .two_stage import (
    BOX_HEAD_TYPES,
    ROI_PARTS,
    TwoStageAdapter,
    accepts_masks,
    num_images,
    without_classes,
)


@TASK_UTILS.register_module()
class CascadeRCNNAdapter(TwoStageAdapter):
    """Cascade R-CNN, also with masks: every stage on the boxes that the float model gives it.

    Raw outputs are a dict: ``rpn``, ``labels`` (n,), and ``stages``, a list of dicts with ``rois``
    (n, 5), ``cls_score`` (n, K + 1) and ``bbox_pred``. With mask heads also ``mask_rois``,
    ``mask_labels`` and ``mask``, a list of (m, K, h, w). A stage is an output of its own.

    Note:
        In prediction a stage starts from the boxes of the one before. Here it starts from those of
        the float model, so that rows can be compared; a change of the first stages changes the
        decoded scores, which are means over the stages, and not the boxes.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        roi_head = model.get_submodule(ROI_HEAD)
        self.has_masks = getattr(roi_head, 'mask_head', None) is not None
        self.stages = range(len(roi_head.bbox_head))
        self.head_names = [RPN_HEAD, *(f'{ROI_BOX_HEAD}.{i}' for i in self.stages)]
        if self.has_masks:
            self.head_names += [f'{ROI_MASK_HEAD}.{i}' for i in self.stages]
        self.rpn = AnchorHeadAdapter(model, RPN_HEAD)

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        rpn, roi = getattr(model, RPN_HEAD, None), getattr(model, ROI_HEAD, None)
        if not matches_head(rpn, ('RPNHead',)) or not matches_head(roi, ('CascadeRoIHead',)):
            return False
        return all(matches_head(head, BOX_HEAD_TYPES) for head in getattr(roi, BOX_HEADS[0])) and (
            all(map(accepts_masks, getattr(roi, 'mask_head', ())))
        )

    @property
    def head(self) -> nn.Module:
        """The box head of the last stage."""
        return self.model.roi_head.bbox_head[-1]

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Any]:
        samples, roi_head = data['data_samples'], self.model.roi_head
        if not all('proposals' in sample for sample in samples):
            self._make_proposals(data)
        features = self.model.extract_feat(data['inputs'])
        kept, stages = [sample.proposals for sample in samples], []
        for stage in self.stages:
            rois = bbox2roi([boxes.get(_key(stage)) for boxes in kept])
            found = roi_head._bbox_forward(stage, features, rois)
            stages.append(dict(rois=rois, **{k: found[k] for k in ('cls_score', 'bbox_pred')}))
        raw = dict(
            rpn=self.model.rpn_head(features),
            labels=torch.cat([boxes.labels for boxes in kept]),
            stages=stages,
        )
        if self.has_masks:
            raw |= mask_inputs(samples)
            raw['mask'] = [
                roi_head._mask_forward(stage, features, raw['mask_rois'])['mask_preds']
                for stage in self.stages
            ]
        return raw

    @torch.no_grad()
    def _make_proposals(self, data: dict[str, Any]) -> None:
        samples, heads = data['data_samples'], self.model.roi_head.bbox_head
        with quantizers_off(self.model):
            features = self.model.extract_feat(data['inputs'])
            found = self.model.rpn_head.predict(features, samples, rescale=False)
            chain, scores = [bbox2roi([result.bboxes for result in found])], []
            for stage in self.stages:
                results = self.model.roi_head._bbox_forward(stage, features, chain[-1])
                scores.append(results['cls_score'])
                if stage < len(heads) - 1:
                    refined = _refine(heads[stage], chain[-1], results, get_metainfo(samples))
                    chain.append(refined)
        scores = sum(scores) / len(scores)
        labels = scores[:, :-1].argmax(1)
        if self.has_masks:
            boxes = boxes_of_class(self.head, chain[-1], results['bbox_pred'], labels)
            keep_mask_boxes(samples, chain[-1], boxes, scores)
        rows = [split_rows(chain[0], x, len(samples)) for x in (labels, *chain)]
        for index, sample in enumerate(samples):
            boxes = {_key(i): part[index][:, 1:] for i, part in enumerate(rows[1:])}
            sample.proposals = InstanceData(labels=rows[0][index], **boxes)

    def outputs(self, raw: dict[str, Any]) -> list[HeadOutput]:
        count = num_images(raw)
        outputs = self.rpn.outputs(raw['rpn'])
        for stage, rows in enumerate(raw['stages']):
            head, name = self.model.roi_head.bbox_head[stage], f'{ROI_BOX_HEAD}.{stage}'
            outputs.append(box_output(name, head, rows, raw['labels'], count))
        for stage, masks in enumerate(raw.get('mask', ())):
            outputs.append(mask_output(f'{ROI_MASK_HEAD}.{stage}', raw, masks, count))
        return outputs

    def part_name(self, path: tuple) -> str | None:
        first, *rest = path
        if first == 'mask':
            return f'roi.{rest[0]}.mask'
        if first == 'stages':
            name = ROI_PARTS.get(rest[1])
            return name and name.replace('roi', f'roi.{rest[0]}')
        return super().part_name(path) if first == 'rpn' else None

    def _mask_logits(self, raw: dict[str, Any]) -> list[Tensor]:
        return raw['mask']

    def _detections(
        self, raw: dict[str, Any], samples: list[BaseDataElement], cfg: Any, rescale: bool = False
    ) -> list[InstanceData]:
        last = trees.clone_tensors(raw['stages'][-1])
        scores = [rows['cls_score'] for rows in raw['stages']]
        last['cls_score'] = sum(scores) / float(len(scores))
        keys = ('rois', 'cls_score', 'bbox_pred')
        rows = (split_rows(last['rois'], last[key], num_images(raw)) for key in keys)
        metainfo = get_metainfo(samples)
        return self.head.predict_by_feat(*rows, metainfo, rcnn_test_cfg=cfg, rescale=rescale)

    def loss(
        self, raw: dict[str, Any], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """See :class:`TwoStageAdapter`; each stage counts by its ``stage_loss_weights``."""
        roi_head = self.model.roi_head
        require_train_cfg(roi_head, ROI_HEAD)
        losses = self.rpn.loss(raw['rpn'], data, without_classes(pseudo_labels))
        for stage, weight in enumerate(roi_head.stage_loss_weights):
            found = box_loss(
                roi_head.bbox_head[stage],
                roi_head.bbox_assigner[stage],
                roi_head.train_cfg[stage],
                raw['stages'][stage],
                pseudo_labels,
            )
            if self.has_masks:
                head = roi_head.mask_head[stage]
                masks = raw['mask'][stage]
                found['loss_mask'] = mask_loss(head, raw, masks, pseudo_labels, stage)
            losses |= {
                f's{stage}.{name}': value * weight if 'loss' in name else value
                for name, value in found.items()
            }
        return losses


def _key(stage: int) -> str:
    """The field of ``proposals`` with the boxes that a stage gets."""
    return f'bboxes_{stage}' if stage else 'bboxes'


def _refine(
    head: nn.Module, rois: Tensor, results: dict[str, Tensor], metas: list[dict[str, Any]]
) -> Tensor:
    """The boxes (n, 5) that a stage hands to the next one, as in prediction."""
    scores = results['cls_score']
    if head.custom_activation:
        scores = head.loss_cls.get_activation(scores)
    rows = (split_rows(rois, x, len(metas)) for x in (rois, scores, results['bbox_pred']))
    refined = []
    for of_image, score, deltas, meta in zip(*rows, metas, strict=True):
        labels = score[:, :-1].argmax(1)
        boxes = head.regress_by_class(of_image[:, 1:], labels, deltas, meta)
        refined.append(torch.cat((of_image[:, :1], boxes), 1))
    return torch.cat(refined)
