"""Assignment of priors to lanes in CLRNet: overlap decides how many priors a lane gets."""

import torch
from torch import Tensor

from mmptq.lanes.models.losses.line_iou_loss import line_distances, line_iou

from .line_lanes import LineLanes

NUM_CANDIDATES = 4
DISTANCE_WEIGHT = 3.0
CLASS_WEIGHT = 1.0
ALPHA, GAMMA = 0.25, 2.0
# The farthest prior keeps a little similarity, so that the product of several does not vanish.
SMALLEST_SIMILARITY = 0.01


@torch.no_grad()
def assign_priors(
    preds: LineLanes, scores: Tensor, targets: LineLanes, row_height: float, radius: float
) -> tuple[Tensor, Tensor]:
    """Priors that learn a lane, and the lane of each.

    As in section 3.4 of https://arxiv.org/abs/2203.10350: a lane gets as many priors as the sum of
    its four largest line IoUs, at least one; they are those with the lowest cost, which is a focal
    cost of the score minus the squared product of similarities of x, start and angle.

    Args:
        preds (LineLanes): A predictions; for rows and angles any values are possible.
        scores (Tensor): (A,) probabilities of a lane.
        targets (LineLanes): M lanes, at least one.
        row_height (float): Distance of rows in pixels.
        radius (float): Half of the width of a lane in pixels.

    Returns:
        tuple[Tensor, Tensor]: (K,) int64 indices of priors in rising order, and of their lanes.

    Note:
        A prior that several lanes claim belongs to the lane of the lowest cost. The score is the
        softmax probability that the losses and the decoding use; the published code takes the
        sigmoid of one of the two logits here.
    """
    distances = line_distances(preds.rows.xs[:, None], targets.rows.xs, targets.rows.shown)
    scale = preds.lines.new_tensor([row_height, 1.0])
    starts = torch.cdist(preds.lines[:, :2] * scale, targets.lines[:, :2] * scale)
    angles = (preds.lines[:, None, 2] - targets.lines[:, 2]).abs()
    similarity = _similarity(distances) * _similarity(starts) * _similarity(angles)
    costs = CLASS_WEIGHT * _focal_cost(scores)[:, None] - DISTANCE_WEIGHT * similarity.square()
    return _lowest_costs(costs, line_iou(distances, radius))


def _similarity(distances: Tensor) -> Tensor:
    """1 for equal lanes, little for the farthest pair of the image."""
    return 1 - distances / distances.max().clamp(min=1e-9) + SMALLEST_SIMILARITY


def _focal_cost(scores: Tensor) -> Tensor:
    """Focal loss of being a lane minus that of being background."""
    scores = scores.clamp(1e-12, 1 - 1e-7)
    lane = -ALPHA * (1 - scores) ** GAMMA * scores.log()
    background = -(1 - ALPHA) * scores**GAMMA * (1 - scores).log()
    return lane - background


def _lowest_costs(costs: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
    """Each lane's priors of lowest cost, as many as its best IoUs sum to; (A, M) each."""
    best = ious.clamp(min=0).topk(min(NUM_CANDIDATES, len(ious)), dim=0).values
    counts = best.sum(dim=0).int().clamp(min=1)
    ranks = costs.argsort(dim=0, stable=True).argsort(dim=0)
    claimed = torch.where(ranks < counts, costs, torch.inf)
    lowest, lanes = claimed.min(dim=1)
    chosen = lowest.isfinite().nonzero().squeeze(1)
    return chosen, lanes[chosen]
