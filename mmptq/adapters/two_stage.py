"""Two-stage detectors of mmdet: RPN and RoI head."""

import copy
from typing import Any

import torch
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmptq.quantization import quantizers_off
from mmptq.utils import trees
from mmptq.utils.detector_parts import BOX_HEADS, ROI_BOX_HEAD, ROI_HEAD, RPN_HEAD

from .adapter import Adapter
from .anchor_head import AnchorHeadAdapter
from .dense_head import as_ground_truth
from .head_losses import get_metainfo, require_train_cfg, sum_losses
from .head_output import HeadOutput
from .parts import matches_head
from .response_limit import find_limit

# Names of the RoI head's outputs.
ROI_PARTS = {'cls_score': 'roi.cls', 'bbox_pred': 'roi.bbox'}


@TASK_UTILS.register_module()
class TwoStageAdapter(Adapter):
    """Faster R-CNN: the RPN, and the RoI head on the proposals of the float model.

    Float and quantized RoI heads are compared proposal by proposal, so both get the proposals of
    the float model. These are computed for data samples without ``proposals`` and stored there,
    together with the best class of each according to the float RoI head: the boxes of this class
    are compared.

    Raw outputs are a dict: ``rpn`` (what the RPN's forward returns), ``rois`` (n, 5) with the
    index in the batch first, ``labels`` (n,), ``cls_score`` (n, K + 1) and ``bbox_pred``
    (n, 4 K), or (n, 4) for a class-agnostic head.

    Note:
        ``decode`` also starts from the float model's proposals, so a change of the RPN's outputs
        does not change the predictions.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.head_names = [RPN_HEAD, ROI_BOX_HEAD]
        self.rpn = AnchorHeadAdapter(model, RPN_HEAD)

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        rpn, roi = getattr(model, RPN_HEAD, None), getattr(model, ROI_HEAD, None)
        return (
            matches_head(rpn, ('RPNHead',))
            and matches_head(roi, ('StandardRoIHead',))
            and matches_head(getattr(roi, BOX_HEADS[0], None), ('BBoxHead', 'ConvFCBBoxHead'))
        )

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Any]:
        samples = data['data_samples']
        if not all('proposals' in sample for sample in samples):
            self._make_proposals(data)
        features = self.model.extract_feat(data['inputs'])
        rois = bbox2roi([sample.proposals.bboxes for sample in samples])
        results = self.model.roi_head._bbox_forward(features, rois)
        return dict(
            rpn=self.model.rpn_head(features),
            rois=rois,
            labels=torch.cat([sample.proposals.labels for sample in samples]),
            cls_score=results['cls_score'],
            bbox_pred=results['bbox_pred'],
        )

    @torch.no_grad()
    def _make_proposals(self, data: dict[str, Any]) -> None:
        samples = data['data_samples']
        with quantizers_off(self.model):
            features = self.model.extract_feat(data['inputs'])
            found = self.model.rpn_head.predict(features, samples, rescale=False)
            rois = bbox2roi([result.bboxes for result in found])
            scores = self.model.roi_head._bbox_forward(features, rois)['cls_score']
        labels = scores[:, :-1].argmax(1).split([len(result) for result in found])
        for sample, result, label in zip(samples, found, labels, strict=True):
            sample.proposals = InstanceData(bboxes=result.bboxes, labels=label)

    def outputs(self, raw: dict[str, Any]) -> list[HeadOutput]:
        boxes = self.head.bbox_coder.decode(raw['rois'][:, 1:], raw['bbox_pred'])
        boxes = _of_class(boxes.view(len(boxes), -1, 4), raw['labels'])
        deltas = raw['bbox_pred'].view(len(boxes), -1, 4)
        roi = HeadOutput(
            self.head_names[1],
            _by_image(raw, raw['cls_score']),
            dict(bbox=_by_image(raw, _of_class(deltas, raw['labels']))),
            _by_image(raw, boxes),
            softmax=True,
        )
        return [*self.rpn.outputs(raw['rpn']), roi]

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
        results = self._detections(raw, samples, self.model.roi_head.test_cfg, rescale=True)
        return self.model.add_pred_to_datasample(samples, results)

    @torch.no_grad()
    def pseudo_labels(
        self, raw: dict[str, Any], data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        samples = data['data_samples']
        cfg = copy.deepcopy(self.model.roi_head.test_cfg)
        cfg.update(score_thr=score_thr, max_per_img=top_k)
        results = self._detections(raw, samples, cfg)
        return [
            as_ground_truth(sample, result, score_thr, top_k)
            for sample, result in zip(samples, results, strict=True)
        ]

    def _detections(
        self, raw: dict[str, Any], samples: list[BaseDataElement], cfg: Any, rescale: bool = False
    ) -> list[InstanceData]:
        """Detections of the RoI head on each image."""
        rows = (_split(raw, raw[key]) for key in ('rois', 'cls_score', 'bbox_pred'))
        rows = map(trees.clone_tensors, rows)
        metainfo = get_metainfo(samples)
        return self.head.predict_by_feat(*rows, metainfo, rcnn_test_cfg=cfg, rescale=rescale)

    def loss(
        self, raw: dict[str, Any], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """See :class:`Adapter`.

        Note:
            All proposals count, whereas training samples some of them at random.
        """
        roi_head = self.model.roi_head
        require_train_cfg(roi_head, ROI_HEAD)
        objects = copy.deepcopy(pseudo_labels)
        for sample in objects:
            sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
        losses = self.rpn.loss(raw['rpn'], data, objects)
        sampled, order, offset = [], [], 0
        for rois, sample in zip(_split(raw, raw['rois']), pseudo_labels, strict=True):
            priors = InstanceData(priors=rois[:, 1:])
            assigned = roi_head.bbox_assigner.assign(priors, sample.gt_instances)
            sampled.append(PseudoSampler().sample(assigned, priors, sample.gt_instances))
            # The head orders the proposals of an image: positives first, then negatives.
            order += [sampled[-1].pos_inds + offset, sampled[-1].neg_inds + offset]
            offset += len(rois)
        order = torch.cat(order)
        result = self.head.loss_and_target(
            *(raw[key][order] for key in ('cls_score', 'bbox_pred', 'rois')),
            sampled,
            roi_head.train_cfg,
        )
        return {**losses, **sum_losses(result['loss_bbox'])}


def _split(raw: dict[str, Any], rows: Tensor) -> list[Tensor]:
    """Rows (n, ...) of all proposals, one tensor per image."""
    return [rows[raw['rois'][:, 0] == index] for index in range(len(raw['rpn'][0][0]))]


def _by_image(raw: dict[str, Any], rows: Tensor) -> Tensor:
    """Rows (n, D) of all proposals as (B, N, D), padded with zeros."""
    return pad_sequence(_split(raw, rows), batch_first=True)


def _of_class(boxes: Tensor, labels: Tensor) -> Tensor:
    """The boxes (n, 4) of the labelled classes from boxes (n, K, 4); K may be 1."""
    if boxes.shape[1] == 1:
        return boxes[:, 0]
    return boxes[torch.arange(len(boxes), device=boxes.device), labels]
