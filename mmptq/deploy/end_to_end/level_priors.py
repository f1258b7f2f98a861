"""The anchors or points of a level as a formula of their position."""

import torch
from torch import Tensor, nn

from mmptq.quantization import QuantizationError

CHECKED = (5, 7)


class LevelPriors(nn.Module):
    """Priors of one level of a pyramid: ``base[anchor] + x * step_x + y * step_y``.

    A file computes the few that it needs, for any size of the map.

    Args:
        generator: Prior generator of mmdet.
        level (int): Index of the level.
        **kwargs: Of ``single_level_grid_priors``.

    Raises:
        QuantizationError: If its priors are not evenly spaced.
    """

    def __init__(self, generator, level: int, **kwargs):
        super().__init__()
        height, width = CHECKED
        grid = generator.single_level_grid_priors(CHECKED, level, device='cpu', **kwargs)
        grid = grid.view(height, width, -1, grid.shape[-1]).float()
        self.register_buffer('base', grid[0, 0].clone())
        # Strides are whole numbers; a difference of two priors is rounded.
        self.register_buffer('step_x', (grid[0, 1, 0] - grid[0, 0, 0]).round())
        self.register_buffer('step_y', (grid[1, 0, 0] - grid[0, 0, 0]).round())
        self.count = grid.shape[2]
        index = torch.arange(height * width * self.count, device='cpu')
        if not torch.equal(self(index, width), grid.flatten(0, 2)):
            raise QuantizationError(
                f'--end-to-end: the priors of {type(generator).__name__} are not evenly spaced, '
                'and cannot be written in ONNX: leave out --end-to-end'
            )

    def forward(self, index: Tensor, width: int | Tensor) -> Tensor:
        """Priors (..., D) of positions in a flattened map.

        Args:
            index (Tensor): (...), int64, anchors of a position next to each other.
            width (int | Tensor): Of the map.
        """
        cell, anchor = index, torch.zeros_like(index)
        if self.count > 1:
            cell = torch.div(index, self.count, rounding_mode='floor')
            anchor = index - cell * self.count
        y = torch.div(cell, width, rounding_mode='floor')
        x = cell - y * width
        shift = x[..., None].float() * self.step_x + y[..., None].float() * self.step_y
        return shift + self.base[anchor]
