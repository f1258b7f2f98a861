"""Lanes as CLRNet regresses them: a straight line with a start and a length, and x at rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .row_lanes import RowLanes, lanes_to_rows


@dataclass(frozen=True)
class LineLanes:
    """Lanes with their line, start and length.

    Attributes:
        lines (Tensor): (N, 4) start y in rows from the bottom, start x in pixels, angle in degrees
            and length in rows.
        rows (RowLanes): The same lanes at rows, x in pixels.
    """

    lines: Tensor
    rows: RowLanes

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index) -> 'LineLanes':
        """Some of the lanes."""
        return LineLanes(self.lines[index], self.rows[index])

    def to(self, device: torch.device) -> 'LineLanes':
        """The same lanes on a device."""
        return LineLanes(self.lines.to(device), self.rows.to(device))


def lanes_to_lines(
    lanes: Sequence[Tensor], num_rows: int, image_size: tuple[int, int]
) -> LineLanes:
    """Lanes at rows, with the lines from their start that CLRNet learns.

    The angle of a lane is the mean over its rows of the direction from its start. Lanes that reach
    less than two rows inside the image are left out.

    Args:
        lanes (Sequence[Tensor]): (P, 2) points each, in pixels, on the CPU.
        num_rows (int): Number of rows S.
        image_size (tuple[int, int]): Width and height in pixels.

    Returns:
        LineLanes: On the CPU.
    """
    rows = lanes_to_rows(lanes, num_rows, *image_size)
    rows = rows[rows.lengths >= 2]
    starts = rows.starts.long()[:, None]
    xs = rows.xs.gather(1, starts)
    above = torch.arange(num_rows, device='cpu') - starts
    row_height = image_size[1] / (num_rows - 1)
    directions = torch.rad2deg(torch.atan2(above * row_height, rows.xs - xs))
    later = rows.shown & (above > 0)
    angles = torch.where(later, directions, 0).sum(dim=1) / later.sum(dim=1)
    return LineLanes(torch.stack([rows.starts, xs[:, 0], angles, rows.lengths], dim=1), rows)
