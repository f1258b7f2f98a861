"""The dense heads of mmdet."""

import copy
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmptq.utils import trees

from .adapter import Adapter
from .ground_truth import as_ground_truths
from .head_losses import get_metainfo, loss_on_labels, require_train_cfg
from .head_output import HeadOutput, flatten_level, flatten_levels, product_logit


class DenseHeadAdapter(Adapter):
    """A head of mmdet on the levels of a pyramid: class scores, boxes and possibly a quality.

    Raw outputs are (class scores, boxes) or (class scores, boxes, quality), each a list with one
    map per level. The quality is a centerness or an objectness.

    Attributes:
        assigns_by_train_cfg (bool): Whether the head builds its target assignment from train_cfg.
    """

    output_names: ClassVar = ('cls', 'bbox', 'quality')
    assigns_by_train_cfg = True

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        head = self.head
        scores = self.class_logits(flatten_levels(raw[0], head.cls_out_channels))
        boxes, regs = [], {'bbox': flatten_levels(raw[1], self.num_regs())}
        priors = self.level_priors(raw)
        for level, (bbox, prior) in enumerate(zip(raw[1], priors, strict=True)):
            boxes.append(self.decode_boxes(flatten_level(bbox, self.num_regs()), prior, level))
        if len(raw) > 2:
            regs['quality'] = flatten_levels(raw[2], 1)
            scores = product_logit(scores, regs['quality'])
        softmax = not getattr(head, 'use_sigmoid_cls', True)
        return [HeadOutput(self.head_names[-1], scores, regs, torch.cat(boxes, 1), softmax)]

    def class_logits(self, scores: Tensor) -> Tensor:
        """Logits of class scores as the head returns them; by default these are logits."""
        return scores

    def num_regs(self) -> int:
        """Number of values per box before decoding."""
        return 4

    def level_priors(self, raw: tuple[list[Tensor], ...]) -> list[Tensor]:
        """Anchors or points of each level, (n, 4) or (n, 2)."""
        sizes = [tuple(x.shape[-2:]) for x in raw[0]]
        return self.head.prior_generator.grid_priors(
            sizes, dtype=raw[0][0].dtype, device=raw[0][0].device
        )

    @abstractmethod
    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        """Corners (B, n, 4) of the boxes (B, n, D) of one level."""

    def loss_inputs(self, raw: tuple[list[Tensor], ...]) -> tuple:
        """Raw outputs as the head returns them in training; by default a copy."""
        return trees.clone_tensors(raw)

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
        if self.assigns_by_train_cfg:
            require_train_cfg(self.head, self.head_names[-1])
        return loss_on_labels(self.head, self.loss_inputs(raw), pseudo_labels)


def best_results(
    head: nn.Module, raw: Any, samples: list[BaseDataElement], score_thr: float, top_k: int
) -> list[InstanceData]:
    """The best detections of a head of mmdet, in pixels of its input.

    Args:
        head (nn.Module): With ``predict_by_feat`` and ``test_cfg``.
        raw (Any): Its raw outputs, which are not changed.
        samples (list): Data samples of the batch.
        score_thr (float): Only boxes with a higher score are kept.
        top_k (int): Maximum number of boxes of an image.
    """
    cfg = copy.deepcopy(head.test_cfg)
    cfg.update(score_thr=score_thr, max_per_img=top_k)
    return head.predict_by_feat(
        *trees.copy_tensors(raw), batch_img_metas=get_metainfo(samples), cfg=cfg, rescale=False
    )
