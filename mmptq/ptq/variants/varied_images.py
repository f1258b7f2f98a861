"""Copies of calibration images that show the same scene in another way."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from mmptq.utils.errors import QuantizationError

# Largest changes: of the size, of the position in shares of the image, of the contrast, and of the
# brightness in standard deviations of the image.
ZOOM, SHIFT, CONTRAST, BRIGHTNESS = 0.05, 0.03, 0.25, 0.25


def varied_batch(data: dict[str, Any], seed: int) -> dict[str, Any]:
    """A batch whose images are mirrored or not, moved, zoomed and lit otherwise.

    The float model's own outputs on the new images are what a loss compares with, so that no
    label has to move along.

    Args:
        data (dict): ``inputs`` is (B, C, H, W), normalised as the model takes it. Not changed.
        seed (int): Of the changes.

    Returns:
        dict: The same with other ``inputs``, of the same shape.

    Raises:
        QuantizationError: If ``inputs`` is no batch of images.
    """
    images = data['inputs']
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
        raise QuantizationError(
            'copies of calibration samples are made of images alone, and this model takes other '
            'inputs: use copies=0'
        )
    generator = torch.Generator('cpu').manual_seed(seed)
    numbers = torch.rand(len(images), 6, generator=generator, device='cpu')
    numbers = (2 * numbers - 1).to(images)
    mirror, zoom, dx, dy, contrast, brightness = numbers.unbind(1)
    transform = images.new_zeros(len(images), 2, 3)
    size = 1 + ZOOM * zoom
    transform[:, 0, 0] = torch.where(mirror < 0, -size, size)
    transform[:, 1, 1] = size
    transform[:, 0, 2], transform[:, 1, 2] = 2 * SHIFT * dx, 2 * SHIFT * dy
    grid = affine_grid(transform, list(images.shape), align_corners=False)
    moved = grid_sample(images, grid, padding_mode='reflection', align_corners=False)
    std, mean = torch.std_mean(moved, (1, 2, 3), keepdim=True)
    gain, offset = (1 + CONTRAST * contrast), BRIGHTNESS * brightness
    moved = (moved - mean) * gain[:, None, None, None] + mean + std * offset[:, None, None, None]
    return dict(data, inputs=moved)
