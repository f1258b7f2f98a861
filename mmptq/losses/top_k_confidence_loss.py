"""How confident a detector is where it is most confident."""

import math
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmptq.adapters import Adapter, HeadOutput
from mmptq.utils.errors import QuantizationError

from .task_loss import TaskLoss

ALL = 'all'
# Share of the positions that count where the head has no limit of its own.
SHARE_WITHOUT_LIMIT = 0.05


@MODELS.register_module()
class TopKConfidenceLoss(TaskLoss):
    """The auxiliary loss of InlierQ: minus the mean log of the largest responses of each class.

    With the K largest responses H_[1],c ... H_[K],c of class channel c among the positions of a
    head output, and C classes::

        loss = - 1 / (K C) sum_k sum_c log H_[k],c

    It needs no labels and compares with nothing: its gradient in the float model says which
    positions of a feature map the detections depend on. Responses are sigmoids, or the foreground
    classes of a softmax. The losses of several head outputs (the tasks of CenterPoint; RPN and RoI
    head, the latter on the float model's proposals) are parts of one sum.

    https://arxiv.org/abs/2602.03472

    Note:
        We know the paper by summaries. Top-K is per class channel; its table uses K = 500 for
        CenterPoint and 300 for DETR3D, which are these heads' own limits, so that is the default.
        What stands in for the heat map of heads without one is our reading: the positions of all
        levels and anchors of a dense head together (so that small top levels do not count as a
        whole), objectness for an RPN, queries or anchors for lanes, and where the head has no limit
        one position in twenty. Scores that the head multiplies by a centerness or an objectness are
        the product. Log responses end at ``log(eps)``, as the heat maps of CenterPoint do in
        training: smaller responses pass no gradient.

    Args:
        k (int or str, optional): Number of responses per class; 'all' for all positions (no top-K).
            Defaults to None, the limit of the head's own post-processing (nms_pre, max_num,
            max_lanes ...).
        score_thr (float): A sample on which no response of the float model is above it is left out;
            0 takes every sample. Defaults to 0.05.
        eps (float): The smallest response that counts. Defaults to 1e-4.
        loss_weight (float): Factor of the whole. Defaults to 1.0.

    Example:
        >>> loss = dict(type='TopKConfidenceLoss', k=500)
    """

    def __init__(
        self,
        k: int | str | None = None,
        score_thr: float = 0.05,
        eps: float = 1e-4,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        valid = k is None or k == ALL or (type(k) is int and k >= 1)
        if not valid or not 0 <= score_thr < 1 or not 0 < eps < 1 or loss_weight <= 0:
            raise QuantizationError(
                f'TopKConfidenceLoss got k={k!r}, score_thr={score_thr!r}, eps={eps!r}, '
                f"loss_weight={loss_weight!r}: use k >= 1, 'all' or None, 0 <= score_thr < 1, "
                '0 < eps < 1 and loss_weight > 0'
            )
        self.k = k
        self.score_thr = score_thr
        self.eps = eps
        self.loss_weight = loss_weight
        self.needs_target = score_thr > 0  # only to find the samples that are left out

    @torch.no_grad()
    def make_target(self, adapter: Adapter, raw: Any, data: dict[str, Any]) -> tuple | None:
        """Nothing to compare with; None where no response is above ``score_thr``."""
        found = any(
            (output.probabilities() > self.score_thr).any() for output in adapter.outputs(raw)
        )
        return () if found else None

    def forward(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: Any
    ) -> dict[str, Tensor]:
        """The loss of each head output, a scalar of at least 0."""
        return {
            output.name: self.loss_weight * self._head_loss(adapter, output)
            for output in adapter.outputs(raw)
        }

    def _head_loss(self, adapter: Adapter, output: HeadOutput) -> Tensor:
        logs = log_responses(output)
        count = logs.shape[1]
        if not count:  # an image without proposals
            return output.scores.sum()
        best = logs.topk(self._num_responses(adapter, output, count), dim=1).values
        return -best.clamp(min=math.log(self.eps)).mean()

    def _num_responses(self, adapter: Adapter, output: HeadOutput, count: int) -> int:
        """K for a head output with so many positions."""
        if self.k == ALL:
            return count
        limit = self.k or adapter.response_limit(output.name)
        return min(limit or max(1, round(SHARE_WITHOUT_LIMIT * count)), count)


def log_responses(output: HeadOutput) -> Tensor:
    """Logarithms (B, N, C) of the responses of the foreground classes."""
    if output.softmax:
        return output.scores.log_softmax(-1)[..., :-1]
    return logsigmoid(output.scores)
