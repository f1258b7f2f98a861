"""One-to-one assignment of predictions to lanes."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of prediction and lane with the smallest sum of costs (Hungarian method).

    Args:
        cost (Tensor): (Q, G) costs of Q predictions and G lanes; pairs with infinite or NaN costs
            are avoided.

    Returns:
        tuple[Tensor, Tensor]: (min(Q, G),) indices of predictions and of their lanes, int64,
        on the device of ``cost``.
    """
    cost = torch.nan_to_num(cost.float(), nan=1e6, posinf=1e6, neginf=-1e6)
    pairs = linear_sum_assignment(cost.cpu().numpy())
    return tuple(torch.as_tensor(indices, device=cost.device) for indices in pairs)
