"""Comparing tensors that two ways to compute the same thing gave."""

import math

import torch
from torch import Tensor


def agree(first: Tensor, second: Tensor, tolerance: float = 1e-3) -> bool:
    """Whether two tensors are the same up to sums in another order.

    Args:
        first (Tensor): Any shape and type.
        second (Tensor): The other; on the same device.
        tolerance (float): Largest difference, as a share of the largest absolute value of
            ``first``; half precision is given more. Defaults to 1e-3.
    """
    if first.shape != second.shape:
        return False
    if not (first.is_floating_point() and second.is_floating_point()):
        return bool(torch.equal(first, second))
    if not first.numel():
        return True
    tolerance = max(tolerance, 16 * torch.finfo(second.dtype).eps)
    first, second = first.float(), second.float()
    largest, apart = (
        float(torch.linalg.vector_norm(x, torch.inf)) for x in (first, first - second)
    )
    if math.isfinite(largest) and math.isfinite(apart):  # a quarter of the time
        return apart <= tolerance * largest + 1e-7
    largest = float(first.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(first, second, 0.0, tolerance * largest + 1e-7, equal_nan=True)
