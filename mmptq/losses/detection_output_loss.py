"""How far the detections of a quantized model are from those of the float model."""

from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn.functional import logsigmoid, smooth_l1_loss

from mmptq.adapters import Adapter, HeadOutput
from mmptq.quantization import QuantizationError

from .task_loss import TaskLoss

# A regression that is in the scores already, as a factor.
IN_SCORES = 'quality'


@MODELS.register_module()
class DetectionOutputLoss(TaskLoss):
    """Object detection output loss (ODOL) of DetPTQ: a stand-in for the task loss, without labels.

    The outputs of float and quantized model are compared position by position, decoded but before
    any suppression. With class probabilities q, best class probability v = max q, box b of the
    float model, q', v' and b' of the quantized one, and foreground F = {v > score_thr}::

        L_cls = sum_i w_i KL(q_i || q'_i) / max(1, sum_F v_i)
        L_loc = sum_F v_i (1 - GIoU(b_i, b'_i)) / sum_F v_i
        loss  = L_cls + loc_weight * L_loc                         (summed over heads)

    where w_i is ``background_weight`` at background positions of both models
    (max(v, v') <= score_thr), and elsewhere 1, or max(v, v') if ``confidence_weighted``. Heads
    without boxes in the image plane (3D) have the smooth L1 distance of encoded regressions in
    L_loc. The divergence is categorical for a softmax, and a sum of binary ones for sigmoids.

    https://arxiv.org/abs/2304.09785

    Note:
        The abstract says that the loss represents the task loss and is computed on outputs; the
        rest of the paper was not available to us. The formula and all defaults are our choice: a
        prediction difference as in PD-Quant (https://arxiv.org/abs/2212.07048) with a localisation
        term on the foreground.

    Args:
        score_thr (float): A position whose best float class probability is higher is foreground.
            Defaults to 0.05.
        loc_weight (float): Factor of the localisation term. Defaults to 1.0.
        background_weight (float): Factor of the divergence at background positions of both
            models. Defaults to 1.0.
        confidence_weighted (bool): Whether other divergences are weighted by max(v, v'), which
            passes no gradient. Defaults to False.
        loss_weight (float): Factor of the whole. Defaults to 1.0.

    Example:
        >>> loss = dict(type='DetectionOutputLoss', score_thr=0.05)
    """

    def __init__(
        self,
        score_thr: float = 0.05,
        loc_weight: float = 1.0,
        background_weight: float = 1.0,
        confidence_weighted: bool = False,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        if not 0 <= score_thr < 1 or min(loc_weight, background_weight, loss_weight) < 0:
            raise QuantizationError(
                f'DetectionOutputLoss got score_thr={score_thr!r}, loc_weight={loc_weight!r}, '
                f'background_weight={background_weight!r}, loss_weight={loss_weight!r}: use '
                '0 <= score_thr < 1 and weights >= 0'
            )
        self.score_thr = score_thr
        self.loc_weight = loc_weight
        self.background_weight = background_weight
        self.confidence_weighted = confidence_weighted
        self.loss_weight = loss_weight

    @torch.no_grad()
    def make_target(
        self, adapter: Adapter, raw: Any, data: dict[str, Any]
    ) -> list[HeadOutput] | None:
        """Outputs of the float model, or None where they have no foreground at all."""
        outputs = adapter.outputs(raw)
        found = any((self.confidences(output) > self.score_thr).any() for output in outputs)
        return outputs if found else None

    @staticmethod
    def confidences(output: HeadOutput) -> Tensor:
        """Probability of the best class of each position, (B, N)."""
        return output.probabilities().amax(-1)

    def forward(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: list[HeadOutput]
    ) -> Tensor:
        """The loss, a scalar of at least 0."""
        outputs = adapter.outputs(raw)
        return self.loss_weight * sum(map(self._head_loss, outputs, target))

    def _head_loss(self, pred: HeadOutput, target: HeadOutput) -> Tensor:
        confidence = self.confidences(target)
        foreground = confidence > self.score_thr
        confidence = confidence.where(foreground, 0)
        total = confidence.sum()
        weight = self._weights(confidence, self.confidences(pred).detach())
        classification = (weight * divergence(pred, target)).sum() / total.clamp(min=1)
        if not foreground.any():
            return classification
        distance = distances(pred, target, foreground)
        localisation = (confidence[foreground] * distance).sum() / total
        return classification + self.loc_weight * localisation

    def _weights(self, confidence: Tensor, pred_confidence: Tensor) -> Tensor:
        """Weights of divergences (B, N): what neither model reports is background."""
        confidence = torch.maximum(confidence, pred_confidence)
        weight = confidence if self.confidence_weighted else torch.ones_like(confidence)
        return weight.where(confidence > self.score_thr, self.background_weight)


def divergence(pred: HeadOutput, target: HeadOutput) -> Tensor:
    """Kullback-Leibler divergence (B, N) of ``pred`` from the class probabilities of ``target``."""
    if target.softmax:
        log_q, log_p = target.scores.log_softmax(-1), pred.scores.log_softmax(-1)
        return (log_q.exp() * (log_q - log_p)).sum(-1).clamp(min=0)
    # q log(q / p) + (1 - q) log((1 - q) / (1 - p)) with log(1 - p) = log(p) - logit(p); each is at
    # least 0, but not in float32.
    outside = 1 - target.scores.sigmoid()
    binary = logsigmoid(target.scores) - logsigmoid(pred.scores)
    return (binary + outside * (pred.scores - target.scores)).clamp(min=0).sum(-1)


def distances(pred: HeadOutput, target: HeadOutput, chosen: Tensor) -> Tensor:
    """Distance (M,) of the boxes at the ``chosen`` positions, a mask (B, N) with M of them."""
    if target.boxes is not None:
        boxes = (ordered_boxes(output.boxes[chosen]) for output in (target, pred))
        return 1 - bbox_overlaps(*boxes, 'giou', is_aligned=True)
    parts = [
        smooth_l1_loss(pred.regs[name][chosen], reg[chosen], reduction='none').sum(-1)
        for name, reg in target.regs.items()
        if name != IN_SCORES
    ]
    return sum(parts, start=target.scores.new_zeros(int(chosen.sum())))


def ordered_boxes(boxes: Tensor) -> Tensor:
    """Boxes (M, 4) with x1 <= x2 and y1 <= y2; heads may predict sides that cross over."""
    first, second = boxes.chunk(2, dim=-1)
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
