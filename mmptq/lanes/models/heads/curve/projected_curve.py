"""LSTR's lane shape: a cubic curve on the road, projected into the image."""

import torch
from torch import Tensor

NEAREST = 1e-4  # smallest distance to the pole, relative to the image height


def projected_xs(curves: Tensor, ys: Tensor) -> Tensor:
    """x of curves at given y, equation 5 of https://arxiv.org/abs/2011.04233.

    x = k / (y - f)^2 + m / (y - f) + n + b * y - c, with x and y relative to the image's width and
    height; k, f, m and n depend on the road and the camera, b and c on the lane.

    Args:
        curves (Tensor): (..., 6) k, f, m, n, b, c.
        ys (Tensor): (R,), or (..., R) for different rows per curve.

    Returns:
        Tensor: (..., R), finite: y is kept at a distance of at least 1e-4 from the pole at f.
    """
    k, f, m, n, b, c = (value.unsqueeze(-1) for value in curves.unbind(-1))
    distance = ys - f
    away = torch.where(distance < 0, -NEAREST, NEAREST).to(distance)
    distance = torch.where(distance.abs() < NEAREST, away, distance)
    return k / distance**2 + m / distance + n + b * ys - c
