"""Heads of mmdet3d that detect 3D boxes in one image."""

import copy
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmptq.utils import trees

from .adapter import Adapter
from .head_losses import get_metainfo, require_train_cfg, sum_losses
from .head_output import HeadOutput, flatten_levels, product_logit

# Smallest depth of a corner in metres: corners behind the camera cannot be projected.
NEAREST_DEPTH = 0.1


class Mono3DHeadAdapter(Adapter):
    """Base of the heads of mmdet3d on one image."""

    @abstractmethod
    def detect(
        self, raw: Any, metas: list[dict], score_thr: float, top_k: int
    ) -> list[InstanceData]:
        """Decoded bboxes_3d, scores_3d and labels_3d of each image."""

    @torch.no_grad()
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        samples = data['data_samples']
        found = self.detect(trees.copy_tensors(raw), get_metainfo(samples), score_thr, top_k)
        stride = samples[0].metainfo['pad_shape'][1] / raw[0][0].shape[-1]
        return [
            self._as_ground_truth(sample, result, score_thr, top_k, stride)
            for sample, result in zip(samples, found, strict=True)
        ]

    def _as_ground_truth(
        self,
        sample: BaseDataElement,
        result: InstanceData,
        score_thr: float,
        top_k: int,
        stride: float,
    ) -> BaseDataElement:
        """A data sample with 3D boxes and their projections into the image."""
        result = result[result.scores_3d > score_thr]
        result = result[result.scores_3d.argsort(descending=True)[:top_k]]
        label = type(sample)(metainfo=sample.metainfo)
        # The target assignment asks for this key, which only training pipelines set.
        label.set_metainfo(dict(affine_aug=False))
        centers, depths, boxes = project(result.bboxes_3d, sample.metainfo, stride)
        result.set_field(centers, 'centers_2d')
        result.set_field(depths, 'depths')
        if 'attr_labels' not in result:
            result.attr_labels = torch.zeros_like(result.labels_3d)
        height, width = sample.metainfo['pad_shape'][:2]
        inside = (centers >= 0).all(1) & (centers[:, 0] < width) & (centers[:, 1] < height)
        label.gt_instances_3d = result[inside]
        label.gt_instances = InstanceData(bboxes=boxes[inside], labels=result.labels_3d[inside])
        return label

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        # The target assignment changes the angles of the boxes in place.
        labels = copy.deepcopy(pseudo_labels)
        return sum_losses(
            self.head.loss_by_feat(
                *self.loss_inputs(raw),
                [label.gt_instances_3d for label in labels],
                [label.gt_instances for label in labels],
                get_metainfo(labels),
            )
        )

    def loss_inputs(self, raw: tuple) -> tuple:
        """Raw outputs as the head returns them in training; by default a copy."""
        return trees.clone_tensors(raw)


@TASK_UTILS.register_module()
class FCOSMono3DHeadAdapter(Mono3DHeadAdapter):
    """FCOS3D: scores, boxes, direction, attributes and centerness on the levels of a pyramid."""

    head_types: ClassVar = ('FCOSMono3DHead',)
    output_names: ClassVar = ('cls', 'bbox', 'direction', 'attribute', 'quality')

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        scores, boxes, directions, attributes, centerness = raw
        head = self.head
        regs = dict(bbox=flatten_levels(boxes, sum(head.group_reg_dims)))
        if head.use_direction_classifier:
            regs['direction'] = flatten_levels(directions, 2)
        if head.pred_attrs:
            regs['attribute'] = flatten_levels(attributes, head.num_attrs)
        regs['quality'] = flatten_levels(centerness, 1)
        logits = product_logit(flatten_levels(scores, head.cls_out_channels), regs['quality'])
        return [HeadOutput(self.head_names[-1], logits, regs)]

    def detect(
        self, raw: Any, metas: list[dict], score_thr: float, top_k: int
    ) -> list[InstanceData]:
        cfg = copy.deepcopy(self.head.test_cfg)
        cfg.update(score_thr=score_thr, max_per_img=top_k)
        return self.head.predict_by_feat(*raw, batch_img_metas=metas, cfg=cfg, rescale=False)[0]

    def loss_inputs(self, raw: tuple[list[Tensor], ...]) -> tuple:
        require_train_cfg(self.head, self.head_names[-1])
        scores, boxes, *rest = trees.clone_tensors(raw)
        if self.head.norm_on_bbox:
            # The head multiplies offsets by the stride in eval mode but not in training.
            for box, stride in zip(boxes, self.head.strides, strict=True):
                box[:, :2] /= stride
        return scores, boxes, *rest


@TASK_UTILS.register_module()
class SMOKEMono3DHeadAdapter(Mono3DHeadAdapter):
    """SMOKE: a heatmap of object centres (probabilities, not logits) and eight regressions."""

    head_types: ClassVar = ('SMOKEMono3DHead',)
    output_names: ClassVar = ('cls', 'bbox')

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        scores = flatten_levels(raw[0], self.head.cls_out_channels)
        regs = dict(bbox=flatten_levels(raw[1], sum(self.head.group_reg_dims)))
        return [HeadOutput(self.head_names[-1], scores.logit(), regs)]

    def detect(
        self, raw: Any, metas: list[dict], score_thr: float, top_k: int
    ) -> list[InstanceData]:
        # The same as predict_by_feat, whose score threshold and number of boxes are constants.
        head, heatmap = self.head, raw[0][0]
        matrices = {
            f'{name}s': torch.stack([heatmap.new_tensor(meta[name]) for meta in metas])
            for name in ('cam2img', 'trans_mat')
        }
        top_k = min(top_k, heatmap[0].numel())
        found = head._decode_heatmap(heatmap, raw[1][0], metas, topk=top_k, kernel=3, **matrices)
        return [
            InstanceData(
                bboxes_3d=meta['box_type_3d'](
                    boxes, box_dim=head.bbox_code_size, origin=(0.5, 0.5, 0.5)
                ),
                scores_3d=scores,
                labels_3d=labels,
            )
            for meta, boxes, scores, labels in zip(metas, *found, strict=True)
        ]

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        if any(len(label.gt_instances) for label in pseudo_labels):
            return super().loss(raw, data, pseudo_labels)
        # mmdet3d's target assignment fails without objects.
        heatmap = raw[0][0].clone()
        loss = self.head.loss_cls(heatmap, torch.zeros_like(heatmap), avg_factor=1)
        return dict(loss_cls=loss, loss_bbox=raw[1][0].sum() * 0)


def project(boxes: Any, meta: dict[str, Any], stride: float) -> tuple[Tensor, Tensor, Tensor]:
    """Project 3D boxes into the network's input image.

    Args:
        boxes (CameraInstance3DBoxes): n boxes.
        meta (dict): With ``cam2img``, and optionally ``trans_mat``: then ``cam2img`` belongs to
            the original image and ``trans_mat`` maps its pixels to cells of the feature map.
        stride (float): Pixels of the input per cell of the feature map.

    Returns:
        tuple: centres (n, 2) in pixels, depths (n,) in metres, 2D boxes (n, 4) in pixels.
    """
    from mmdet3d.structures import points_cam2img

    matrix = boxes.tensor.new_tensor(meta['cam2img'])
    corners = boxes.corners.clone()
    corners[..., 2].clamp_(min=NEAREST_DEPTH)
    points = torch.cat((boxes.gravity_center.unsqueeze(1), corners), 1)
    points = points_cam2img(points.view(-1, 3), matrix).view(-1, 9, 2)
    if 'trans_mat' in meta:
        affine = boxes.tensor.new_tensor(meta['trans_mat'])
        points = (points @ affine[:2, :2].T + affine[:2, 2]) * stride
    height, width = meta['pad_shape'][:2]
    limits = points.new_tensor([width, height])
    outline = torch.minimum(points[:, 1:].clamp(min=0), limits)
    box = torch.cat((outline.amin(1), outline.amax(1)), 1)
    return points[:, 0], boxes.gravity_center[:, 2], box
