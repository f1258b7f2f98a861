"""Straight lines that start at the borders of an image."""

from collections.abc import Sequence

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class LaneAnchorGenerator:
    """Anchors of Line-CNN and LaneATT: rays from the left, lower and right border of the image.

    An anchor is a point on the border and an angle, both in the image scaled to a unit square.
    Anchors are ordered by side (left, bottom, right), origin and angle. Origins are evenly spaced,
    from bottom to top and from right to left.

    Paper: https://arxiv.org/abs/2010.12035, section 3.1. The angles are those of the published
    code (https://github.com/lucastabelini/LaneATT).

    Args:
        lateral_origins (int): Number of origins on the left and on the right border.
        bottom_origins (int): Number of origins on the lower border.
        left_angles (Sequence[float]): Angles on the left border, in degrees from the x axis up.
        bottom_angles (Sequence[float]): Angles on the lower border.
        right_angles (Sequence[float]): Angles on the right border.

    Example:
        >>> anchor_generator = dict(type='LaneAnchorGenerator')  # 2784 anchors
    """

    def __init__(
        self,
        lateral_origins: int = 72,
        bottom_origins: int = 128,
        left_angles: Sequence[float] = (72, 60, 49, 39, 30, 22),
        bottom_angles: Sequence[float] = (
            *(165, 150, 141, 131, 120, 108, 100, 90, 80, 72, 60, 49, 39, 30, 15),
        ),
        right_angles: Sequence[float] = (108, 120, 131, 141, 150, 158),
    ) -> None:
        up = torch.linspace(1, 0, lateral_origins, dtype=torch.float64)
        across = torch.linspace(1, 0, bottom_origins, dtype=torch.float64)
        sides = (
            (torch.zeros_like(up), up, left_angles),
            (across, torch.ones_like(across), bottom_angles),
            (torch.ones_like(up), up, right_angles),
        )
        rays = []
        for xs, ys, angles in sides:
            angles = torch.tensor(angles, dtype=torch.float64)
            origins = torch.stack([xs, ys], dim=1).repeat_interleave(len(angles), dim=0)
            rays.append(torch.cat([origins, angles.repeat(len(xs))[:, None]], dim=1))
        self.rays = torch.cat(rays)

    def __len__(self) -> int:
        return len(self.rays)

    def start_heights(self) -> Tensor:
        """(A,) relative height of the origins: 0 at the bottom, 1 at the top."""
        return (1 - self.rays[:, 1]).float()

    def xs_at(self, ys: Tensor) -> Tensor:
        """x of all anchors at given heights, also below their origins and outside the image.

        Args:
            ys (Tensor): (R,) y relative to the image height, 0 at the top and 1 at the bottom.

        Returns:
            Tensor: (A, R) float32, relative to the image width.
        """
        x, y, angle = self.rays.T[..., None]
        return (x + (y - ys.double()) / torch.tan(torch.deg2rad(angle))).float()
