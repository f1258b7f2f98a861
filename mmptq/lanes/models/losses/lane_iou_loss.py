"""Overlap of predicted and true lane pixels."""

from torch import Tensor
from torch.nn import functional as F


def lane_iou_loss(shares: Tensor, classes: Tensor) -> Tensor:
    """IoU loss of ENet-SAD, 1 - N_o / (N_p + N_g - N_o).

    N_p and N_g are the predicted and the true numbers of lane pixels, N_o that of pixels where both
    agree about the lane, all summed over lanes and batch, so that lanes predicted in images
    without lanes count too. Predicted numbers are soft, sums of shares.

    Note:
        The paper (https://arxiv.org/abs/1908.00821) is often quoted with N_p as the numerator,
        which is no IoU; N_o is meant.

    Args:
        shares (Tensor): (B, 1 + K, H, W) probabilities, background first.
        classes (Tensor): (B, H, W) int64, 0 for background.

    Returns:
        Tensor: Scalar between 0 and 1; 0 where neither predicts nor shows a lane.
    """
    truth = F.one_hot(classes, shares.shape[1]).movedim(-1, 1)[:, 1:].to(shares.dtype)
    lanes = shares[:, 1:]
    overlap = (lanes * truth).sum()
    union = lanes.sum() + truth.sum() - overlap
    return (union - overlap) / union.clamp(min=1e-6)
