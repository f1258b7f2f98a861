"""The head's own loss on what the float model detects."""

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmptq.adapters import Adapter

from .task_loss import TaskLoss


@dataclass
class FloatDetections:
    """Pseudo labels of a batch.

    Attributes:
        labels (list[BaseDataElement]): One data sample per sample.
        float_loss (Tensor): Loss of the float model on them, a scalar.
    """

    labels: list[BaseDataElement]
    float_loss: Tensor


@MODELS.register_module()
class GlobalPositiveLoss(TaskLoss):
    """Task-guided global positive loss (TGPL) of LiDAR-PTQ.

    Detections of the float model, decoded as in deployment, become pseudo labels once. The
    quantized model gets the training loss of its own head on them: the head's target assignment,
    classification everywhere, regression on positives only. No ground truth is read.

    https://arxiv.org/abs/2401.15865, section 3.3:
    ``L_TGPL = L_cls + alpha * L_reg``, ``L_total = L_local + loss_weight * L_TGPL``.

    Note:
        Pseudo labels are hard: a detection with a score of 0.2 counts as an object, so that the
        loss of the float model itself is high, and a network with enough freedom (4-bit rounding,
        all scales) becomes more confident in doubtful detections than the float model.
        ``clip_at_float_loss``, which the paper does not have, makes the loss zero below the loss
        of the float model.

    Note:
        ``score_thr`` and ``top_k`` are from memory of the paper; both equal the decoding settings
        of CenterPoint. ``alpha`` is the regression weight of the detector's own training. In a
        head with several tasks the two limits hold per task, and the losses of the tasks add up.

    Args:
        score_thr (float): Detections must score higher. Defaults to 0.1.
        top_k (int): Most detections per sample (and task), the best first. Defaults to 500.
        loss_weight (float): Factor of the sum of all losses. Defaults to 1.0.
        clip_at_float_loss (bool): Whether the loss is zero where the quantized model fits the
            pseudo labels better than the float model does. Defaults to True.

    Example:
        >>> task_loss = dict(type='GlobalPositiveLoss', score_thr=0.1, top_k=500)
    """

    def __init__(
        self,
        score_thr: float = 0.1,
        top_k: int = 500,
        loss_weight: float = 1.0,
        clip_at_float_loss: bool = True,
    ):
        super().__init__()
        self.score_thr = score_thr
        self.top_k = top_k
        self.loss_weight = loss_weight
        self.clip_at_float_loss = clip_at_float_loss

    @torch.no_grad()
    def make_target(
        self, adapter: Adapter, raw: Any, data: dict[str, Any]
    ) -> FloatDetections | None:
        """Pseudo labels, or None where the float model detects nothing in the whole batch."""
        labels = adapter.pseudo_labels(raw, data, self.score_thr, self.top_k)
        if not any(map(count_boxes, labels)):
            return None
        return FloatDetections(labels, sum_of_losses(adapter.loss(raw, data, labels)))

    def forward(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: FloatDetections
    ) -> Tensor:
        """The loss, a scalar of at least 0 if it is clipped at the loss of the float model."""
        loss = sum_of_losses(adapter.loss(raw, data, target.labels))
        if self.clip_at_float_loss:
            loss = (loss - target.float_loss).clamp(min=0)
        return self.loss_weight * loss


def sum_of_losses(losses: dict[str, Tensor]) -> Tensor:
    """Sum of the training losses of a head: the entries with 'loss' in their name."""
    return sum(loss for name, loss in losses.items() if 'loss' in name)


def count_boxes(sample: BaseDataElement) -> int:
    """Number of boxes (2D or 3D) or lanes in the ground truth of a data sample."""
    if 'gt_lanes' in sample:
        return len(sample.gt_lanes)
    if 'gt_instances_3d' in sample:
        return len(sample.gt_instances_3d.labels_3d)
    return len(sample.gt_instances.labels)
