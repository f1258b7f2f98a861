"""Line IoU of CLRNet."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn


def line_distances(xs: Tensor, target_xs: Tensor, shown: Tensor) -> Tensor:
    """Mean distance along x over the rows of the true lane.

    Args:
        xs (Tensor): (..., S) x of predicted lanes at rows.
        target_xs (Tensor): (..., S) x of true lanes; leading dimensions are broadcast.
        shown (Tensor): (..., S) bool, rows that the true lanes reach.

    Returns:
        Tensor: (...), in the unit of x; 0 for a lane without rows.
    """
    misses = torch.where(shown, (xs - target_xs).abs(), 0)
    return misses.sum(dim=-1) / shown.sum(dim=-1).clamp(min=1)


def line_iou(distances: Tensor, radius: float) -> Tensor:
    """Line IoU, equation 4 of https://arxiv.org/abs/2203.10350.

    Each x is widened by the radius e to both sides. At a row where two lanes are d apart, they
    share 2e - d (negative if they do not meet) and cover 2e + d. Sums over rows give a function of
    the mean distance alone.

    Args:
        distances (Tensor): From :func:`line_distances`.
        radius (float): Half of the width of a lane, in the unit of the distances.

    Returns:
        Tensor: Same shape, between -1 and 1.
    """
    return (2 * radius - distances) / (2 * radius + distances)


@MODELS.register_module()
class LineIoULoss(nn.Module):
    """1 - line IoU, a mean over lanes.

    Args:
        radius (float): Half of the width of a lane in pixels of the input.
        loss_weight (float): Weight of the loss.

    Example:
        >>> loss_iou = dict(type='LineIoULoss', radius=15.0, loss_weight=2.0)
    """

    def __init__(self, radius: float = 15.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.radius = radius
        self.loss_weight = loss_weight

    def forward(self, xs: Tensor, target_xs: Tensor, shown: Tensor) -> Tensor:
        """The loss.

        Args:
            xs (Tensor): (N, S) x of predicted lanes at rows, in pixels.
            target_xs (Tensor): (N, S) x of their true lanes.
            shown (Tensor): (N, S) bool, rows that the true lanes reach.

        Returns:
            Tensor: Scalar; 0 without lanes.
        """
        distances = line_distances(xs, target_xs, shown)
        ious = line_iou(distances, self.radius)
        return self.loss_weight * (1 - ious).sum() / max(len(ious), 1)
