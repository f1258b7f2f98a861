"""Overlap of predicted and true lane pixels."""

from torch import Tensor
from torch.nn import functional as F


def lane_iou_loss(shares: Tensor, classes: Tensor) -> Tensor:
    """IoU loss of ENet-SAD, 1 - N_o / (N_p + N_g - N_o).

    N_p and N_g are the numbers of predicted and true lane pixels, and N_o is the number of pixels
    where both agree about the lane. All are summed over lanes and batch, so lanes predicted in
    images without lanes also count. Predicted numbers are sums of probabilities.

    Note:
        The paper (https://arxiv.org/abs/1908.00821) is often quoted with N_p as the numerator,
        which would not be an IoU; N_o is correct.

    Args:
        shares (Tensor): (B, 1 + K, H, W) probabilities, background first.
        classes (Tensor): (B, H, W) int64, 0 for background.

    Returns:
        Tensor: Scalar between 0 and 1; 0 if there are neither predicted nor true lanes.
    """
    truth = F.one_hot(classes, shares.shape[1]).movedim(-1, 1)[:, 1:].to(shares.dtype)
    lanes = shares[:, 1:]
    overlap = (lanes * truth).sum()
    union = lanes.sum() + truth.sum() - overlap
    return (union - overlap) / union.clamp(min=1e-6)
