"""Maps of single lanes, from a convolution of its own for each."""

import torch
from torch import Tensor

MAP_BIAS = -2.19  # of the published code


def dynamic_convolution(features: Tensor, kernels: Tensor) -> Tensor:
    """A 1x1 convolution of its own for each of N feature maps, on x, y and the features.

    Args:
        features (Tensor): (N, C, H, W).
        kernels (Tensor): (N, 3 + C), weights of x and y in cells and of the features, and bias.

    Returns:
        Tensor: (N, H, W).
    """
    height, width = features.shape[2:]
    x, y, weights, bias = kernels.split([1, 1, features.shape[1], 1], dim=1)
    columns = torch.arange(width, device=features.device, dtype=features.dtype)
    rows = torch.arange(height, device=features.device, dtype=features.dtype)
    plane = x[..., None] * columns + y[..., None] * rows[:, None] + (bias + MAP_BIAS)[..., None]
    # Not a matrix product: the numbers of an instance do not depend on how many there are.
    return (features * weights[..., None, None]).sum(1) + plane


def mean_column(location: Tensor) -> Tensor:
    """Expected column (..., H) in cells of logits (..., H, W)."""
    columns = torch.arange(location.shape[-1], device=location.device, dtype=location.dtype)
    return (location.softmax(-1) * columns).sum(-1)


def with_given_maps(
    maps: dict[str, Tensor], given: dict[str, Tensor], images: Tensor, cells: Tensor
) -> dict[str, Tensor]:
    """Maps of N starts, replaced where the outputs hold maps of the same cells.

    Args:
        maps (dict[str, Tensor]): From :meth:`CondLaneHead.instance_maps`.
        given (dict[str, Tensor]): ``seeds`` (B, K, 2) and maps (B, K, ...) by name.
        images (Tensor): (N,) indices in the batch.
        cells (Tensor): (N, 2) x and y.
    """
    same = (given['seeds'][images] == cells[:, None]).all(2)
    known, which = same.any(1)[:, None, None], same.int().argmax(1)
    return {
        name: torch.where(known, given[name][images, which], value) for name, value in maps.items()
    }
