"""Focal loss for mutually exclusive classes."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SoftmaxFocalLoss(nn.Module):
    """Focal loss on softmax probabilities, summed over samples.

    alpha * (1 - p)^gamma * -log p with p the probability of the true class and the same alpha for
    all classes, as in LaneATT (https://arxiv.org/abs/2010.12035, section 3.5).

    Args:
        alpha (float): Weight of all classes.
        gamma (float): Focusing exponent.
        loss_weight (float): Weight of the loss.

    Example:
        >>> loss_cls = dict(type='SoftmaxFocalLoss', alpha=0.25, gamma=2.0, loss_weight=10.0)
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor, avg_factor: float = 1.0) -> Tensor:
        """The loss.

        Args:
            pred (Tensor): (N, C) logits.
            target (Tensor): (N,) int64 classes.
            avg_factor (float): Divisor of the sum.

        Returns:
            Tensor: Scalar.
        """
        log_probs = F.log_softmax(pred, dim=1).gather(1, target[:, None]).squeeze(1)
        losses = -self.alpha * (1 - log_probs.exp()) ** self.gamma * log_probs
        return self.loss_weight * losses.sum() / avg_factor
