"""Two-stage detectors of mmdet: RPN and RoI head."""

import copy
from typing import Any

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmptq.quantization import quantizers_off
from mmptq.utils import trees
from mmptq.utils.detector_parts import BOX_HEADS, ROI_BOX_HEAD, ROI_HEAD, ROI_MASK_HEAD, RPN_HEAD

from .adapter import Adapter
from .anchor_head import AnchorHeadAdapter
from .ground_truth import as_ground_truths
from .head_losses import get_metainfo, require_train_cfg
from .head_output import HeadOutput
from .mask_rows import keep_mask_boxes, keep_mask_targets, mask_inputs, mask_loss, mask_output
from .parts import matches_head
from .response_limit import find_limit
from .roi_rows import box_loss, box_output, boxes_of_class, split_rows

# Names of the RoI head's outputs.
ROI_PARTS = {'cls_score': 'roi.cls', 'bbox_pred': 'roi.bbox', 'mask': 'roi.mask'}
BOX_HEAD_TYPES = ('BBoxHead', 'ConvFCBBoxHead')
MASK_HEAD_TYPES = ('FCNMaskHead',)


@TASK_UTILS.register_module()
class TwoStageAdapter(Adapter):
    """Faster R-CNN and Mask R-CNN: the RPN, and the RoI head on the float model's proposals.

    Float and quantized RoI heads are compared proposal by proposal, so both get the proposals of
    the float model. These are computed for data samples without ``proposals`` and stored there,
    together with the best class of each according to the float RoI head: the boxes of this class
    are compared. Masks are compared on the best boxes of the float model, 16 per image.

    Raw outputs are a dict: ``rpn`` (what the RPN's forward returns), ``rois`` (n, 5) with the
    index in the batch first, ``labels`` (n,), ``cls_score`` (n, K + 1) and ``bbox_pred``
    (n, 4 K), or (n, 4) for a class-agnostic head. With a mask head also ``mask_rois`` (m, 5),
    ``mask_labels`` (m,) and ``mask`` (m, K, h, w).

    Note:
        ``decode`` also starts from the float model's proposals, so a change of the RPN's outputs
        does not change the predictions. It gives boxes without masks, for which the mask head
        would have to run on the decoded boxes.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.has_masks = getattr(model.get_submodule(ROI_HEAD), 'mask_head', None) is not None
        self.head_names = [RPN_HEAD, ROI_BOX_HEAD] + [ROI_MASK_HEAD] * self.has_masks
        self.rpn = AnchorHeadAdapter(model, RPN_HEAD)

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        rpn, roi = getattr(model, RPN_HEAD, None), getattr(model, ROI_HEAD, None)
        return (
            matches_head(rpn, ('RPNHead',))
            and matches_head(roi, ('StandardRoIHead',))
            and matches_head(getattr(roi, BOX_HEADS[0], None), BOX_HEAD_TYPES)
            and accepts_masks(getattr(roi, 'mask_head', None))
        )

    @property
    def head(self) -> nn.Module:
        """The box head of the RoI head."""
        return self.model.get_submodule(ROI_BOX_HEAD)

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Any]:
        samples, roi_head = data['data_samples'], self.model.roi_head
        if not all('proposals' in sample for sample in samples):
            self._make_proposals(data)
        features = self.model.extract_feat(data['inputs'])
        rois = bbox2roi([sample.proposals.bboxes for sample in samples])
        results = roi_head._bbox_forward(features, rois)
        raw = dict(
            rpn=self.model.rpn_head(features),
            rois=rois,
            labels=torch.cat([sample.proposals.labels for sample in samples]),
            cls_score=results['cls_score'],
            bbox_pred=results['bbox_pred'],
        )
        if self.has_masks:
            raw |= mask_inputs(samples)
            raw['mask'] = roi_head._mask_forward(features, raw['mask_rois'])['mask_preds']
        return raw

    @torch.no_grad()
    def _make_proposals(self, data: dict[str, Any]) -> None:
        samples = data['data_samples']
        with quantizers_off(self.model):
            features = self.model.extract_feat(data['inputs'])
            found = self.model.rpn_head.predict(features, samples, rescale=False)
            rois = bbox2roi([result.bboxes for result in found])
            results = self.model.roi_head._bbox_forward(features, rois)
        scores = results['cls_score']
        labels = scores[:, :-1].argmax(1)
        if self.has_masks:
            boxes = boxes_of_class(self.head, rois, results['bbox_pred'], labels)
            keep_mask_boxes(samples, rois, boxes, scores)
        parts = labels.split([len(result) for result in found])
        for sample, result, label in zip(samples, found, parts, strict=True):
            sample.proposals = InstanceData(bboxes=result.bboxes, labels=label)

    def outputs(self, raw: dict[str, Any]) -> list[HeadOutput]:
        count = num_images(raw)
        outputs = self.rpn.outputs(raw['rpn'])
        outputs.append(box_output(ROI_BOX_HEAD, self.head, raw, raw['labels'], count))
        if self.has_masks:
            outputs.append(mask_output(ROI_MASK_HEAD, raw, raw['mask'], count))
        return outputs

    def response_limit(self, name: str) -> int | None:
        part = self.model.rpn_head if name == RPN_HEAD else self.model.roi_head
        return find_limit(part.test_cfg)

    def part_name(self, path: tuple) -> str | None:
        first, *rest = path
        if first == 'rpn':
            return f'rpn.{self.rpn.part_name(tuple(rest))}'
        # Proposals and their classes are chosen by the float model and are no output.
        return ROI_PARTS.get(first)

    @torch.no_grad()
    def decode(self, raw: dict[str, Any], data: dict[str, Any]) -> list[BaseDataElement]:
        samples = [type(s)(metainfo=s.metainfo) for s in data['data_samples']]
        cfg = self.model.roi_head.test_cfg
        # With masks, boxes are suppressed in the network's input and scaled afterwards.
        results = self._detections(raw, samples, cfg, rescale=not self.has_masks)
        if self.has_masks:
            for result, sample in zip(results, samples, strict=True):
                result.bboxes /= result.bboxes.new_tensor(sample.scale_factor).repeat(2)
        return self.model.add_pred_to_datasample(samples, results)

    @torch.no_grad()
    def pseudo_labels(
        self, raw: dict[str, Any], data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """See :class:`Adapter`; with a mask head also ``mask_targets``."""
        samples = data['data_samples']
        cfg = copy.deepcopy(self.model.roi_head.test_cfg)
        cfg.update(score_thr=score_thr, max_per_img=top_k)
        results = self._detections(raw, samples, cfg)
        labels = as_ground_truths(samples, results, score_thr, top_k)
        if self.has_masks:
            keep_mask_targets(labels, raw, self._mask_logits(raw))
        return labels

    def _mask_logits(self, raw: dict[str, Any]) -> list[Tensor]:
        """(m, K, h, w) of each mask head."""
        return [raw['mask']]

    def _detections(
        self, raw: dict[str, Any], samples: list[BaseDataElement], cfg: Any, rescale: bool = False
    ) -> list[InstanceData]:
        """Detections of the RoI head on each image."""
        keys = ('rois', 'cls_score', 'bbox_pred')
        rows = (split_rows(raw['rois'], raw[key], num_images(raw)) for key in keys)
        rows = map(trees.clone_tensors, rows)
        metainfo = get_metainfo(samples)
        return self.head.predict_by_feat(*rows, metainfo, rcnn_test_cfg=cfg, rescale=rescale)

    def loss(
        self, raw: dict[str, Any], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """See :class:`Adapter`.

        Note:
            All proposals count, whereas training samples some of them at random. Masks are
            compared with those of the float model on the same boxes.
        """
        roi_head = self.model.roi_head
        require_train_cfg(roi_head, ROI_HEAD)
        losses = self.rpn.loss(raw['rpn'], data, without_classes(pseudo_labels))
        losses |= box_loss(
            self.head, roi_head.bbox_assigner, roi_head.train_cfg, raw, pseudo_labels
        )
        if self.has_masks:
            losses['loss_mask'] = mask_loss(roi_head.mask_head, raw, raw['mask'], pseudo_labels, 0)
        return losses


def num_images(raw: dict[str, Any]) -> int:
    """Images in the batch of raw outputs."""
    return len(raw['rpn'][0][0])


def without_classes(labels: list[BaseDataElement]) -> list[BaseDataElement]:
    """Pseudo labels for the RPN, which knows one class."""
    objects = [type(label)(metainfo=label.metainfo) for label in labels]
    for sample, label in zip(objects, labels, strict=True):
        sample.gt_instances = copy.deepcopy(label.gt_instances)
        sample.gt_instances.labels = torch.zeros_like(label.gt_instances.labels)
    return objects


def accepts_masks(head: nn.Module | None) -> bool:
    """Whether a mask head is absent, or of a kind that is known."""
    return head is None or matches_head(head, MASK_HEAD_TYPES)
