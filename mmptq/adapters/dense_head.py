"""What the dense heads of mmdet have in common."""

import copy
from abc import abstractmethod
from typing import Any

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from .adapter import (
    Adapter,
    copy_tree,
    metas_of,
    need_train_cfg,
    no_grad_copy,
    sum_losses,
)
from .head_output import HeadOutput, flatten_level, flatten_levels, product_logit


class DenseHeadAdapter(Adapter):
    """A head of mmdet on the levels of a pyramid: class scores, boxes and maybe a quality.

    Raw outputs are (class scores, boxes) or (class scores, boxes, centerness or objectness), each
    a list with one map per level.

    Attributes:
        assigns_by_train_cfg (bool): Whether the head builds its target assignment from train_cfg.
    """

    assigns_by_train_cfg = True

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        head = self.head
        scores = flatten_levels(raw[0], head.cls_out_channels)
        boxes, regs = [], {'bbox': flatten_levels(raw[1], self.num_regs())}
        priors = self.level_priors(raw)
        for level, (bbox, prior) in enumerate(zip(raw[1], priors, strict=True)):
            boxes.append(self.decode(flatten_level(bbox, self.num_regs()), prior, level))
        if len(raw) > 2:
            regs['quality'] = flatten_levels(raw[2], 1)
            scores = product_logit(scores, regs['quality'])
        softmax = not getattr(head, 'use_sigmoid_cls', True)
        return [HeadOutput(self.head_names[-1], scores, regs, torch.cat(boxes, 1), softmax)]

    def num_regs(self) -> int:
        """Numbers per box before decoding."""
        return 4

    def level_priors(self, raw: tuple[list[Tensor], ...]) -> list[Tensor]:
        """Anchors or points of each level, (n, 4) or (n, 2)."""
        sizes = [tuple(x.shape[-2:]) for x in raw[0]]
        return self.head.prior_generator.grid_priors(
            sizes, dtype=raw[0][0].dtype, device=raw[0][0].device
        )

    @abstractmethod
    def decode(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        """Corners (B, n, 4) of the boxes (B, n, D) of one level."""

    def loss_inputs(self, raw: tuple[list[Tensor], ...]) -> tuple:
        """Raw outputs as the head gives them in training; the default is a copy."""
        return copy_tree(raw)

    @torch.no_grad()
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        cfg = copy.deepcopy(self.head.test_cfg)
        cfg.update(score_thr=score_thr, max_per_img=top_k)
        samples = data['data_samples']
        results = self.head.predict_by_feat(
            *no_grad_copy(raw), batch_img_metas=metas_of(samples), cfg=cfg, rescale=False
        )
        return [
            as_ground_truth(sample, result, score_thr, top_k)
            for sample, result in zip(samples, results, strict=True)
        ]

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        if self.assigns_by_train_cfg:
            need_train_cfg(self.head, self.head_names[-1])
        instances = [sample.gt_instances for sample in pseudo_labels]
        losses = self.head.loss_by_feat(*self.loss_inputs(raw), instances, metas_of(pseudo_labels))
        return sum_losses(losses)


def as_ground_truth(
    sample: BaseDataElement, result: InstanceData, score_thr: float, top_k: int
) -> BaseDataElement:
    """A data sample whose ground truth is the better part of a 2D detection result.

    Args:
        sample (BaseDataElement): Gives the meta info.
        result (InstanceData): bboxes (n, 4), scores (n,) and labels (n,).
        score_thr (float): Scores must be higher.
        top_k (int): Most boxes.
    """
    result = result[result.scores > score_thr]
    result = result[result.scores.argsort(descending=True)[:top_k]]
    label = type(sample)(metainfo=sample.metainfo)
    label.gt_instances = InstanceData(
        bboxes=result.bboxes, labels=result.labels, scores=result.scores
    )
    return label
