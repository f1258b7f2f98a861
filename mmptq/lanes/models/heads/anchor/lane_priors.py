"""The learned lines of CLRNet: where they start, and their x at any height."""

import math

import torch
from torch import Tensor

# Angles in units of pi, from the x axis up and against the clock.
LEFT_ANGLES = (0.16, 0.32)
BOTTOM_ANGLES = (0.2, 0.4, 0.6, 0.8)
RIGHT_ANGLES = (0.68, 0.84)
# Keeps the tangent of a horizontal line away from zero.
SMALL_ANGLE = 1e-5


def initial_priors(num_priors: int) -> Tensor:
    """Lines before training: an eighth from each side, the rest from the lower border.

    The starts on a side cover its lower half, those on the lower border all of it without the
    corners; each start has two angles on a side and four below.

    Args:
        num_priors (int): Number of lines A, a multiple of 16.

    Returns:
        Tensor: (A, 3) y of the start above the lower border relative to the height, x of the start
        relative to the width, and angle in units of pi.

    Raises:
        ValueError: For another number of lines.
    """
    if num_priors < 16 or num_priors % 16:
        raise ValueError(f'num_priors must be a multiple of 16, got {num_priors}')
    per_side = num_priors // 8 // len(LEFT_ANGLES)
    below = num_priors * 3 // 4 // len(BOTTOM_ANGLES)
    heights = torch.linspace(0, 0.5, per_side, device='cpu')
    columns = torch.linspace(0, 1, below + 2, device='cpu')[1:-1]
    sides = (
        (heights, torch.zeros_like(heights), LEFT_ANGLES),
        (torch.zeros_like(columns), columns, BOTTOM_ANGLES),
        (heights, torch.ones_like(heights), RIGHT_ANGLES),
    )
    priors = []
    for ys, xs, angles in sides:
        starts = torch.stack([ys, xs], dim=1).repeat_interleave(len(angles), dim=0)
        angles = torch.tensor(angles, device='cpu').repeat(len(ys))
        priors.append(torch.cat([starts, angles[:, None]], dim=1))
    return torch.cat(priors)


def line_xs(lines: Tensor, heights: Tensor, aspect: float) -> Tensor:
    """x of straight lines at given heights, also below their starts and outside the image.

    Args:
        lines (Tensor): (..., 3 or more) start y, start x and angle as in :func:`initial_priors`.
        heights (Tensor): (R,) heights above the lower border, relative to the height of the image.
        aspect (float): Height of the image divided by its width.

    Returns:
        Tensor: (..., R) relative to the width of the image.
    """
    y, x, angle = lines[..., :3].unsqueeze(-2).unbind(dim=-1)
    return x + (heights - y) * aspect / torch.tan(angle * math.pi + SMALL_ANGLE)
