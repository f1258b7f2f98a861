"""Lanes as one x for each of some fixed image rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MAX_ELEMENTS = 2**24  # of a temporary tensor, 64 MB of float32


@dataclass(frozen=True)
class RowLanes:
    """Lanes on S rows that are evenly spaced from the bottom of the image (row 0) to its top.

    Attributes:
        xs (Tensor): (N, S) x in pixels; only ``lengths`` of them from ``starts`` on are the lane.
        starts (Tensor): (N,) float, lowest row.
        lengths (Tensor): (N,) float, number of rows.
    """

    xs: Tensor
    starts: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.xs)

    def __getitem__(self, index) -> 'RowLanes':
        """Some of the lanes."""
        return RowLanes(self.xs[index], self.starts[index], self.lengths[index])

    def to(self, device: torch.device) -> 'RowLanes':
        """The same lanes on a device."""
        return RowLanes(self.xs.to(device), self.starts.to(device), self.lengths.to(device))

    @property
    def ends(self) -> Tensor:
        """(N,) int64, last row; below the first one for an empty lane."""
        last = (self.starts + self.lengths - 1).round().long()
        return last.clamp(max=self.xs.shape[1] - 1)


def row_heights(num_rows: int, height: int) -> np.ndarray:
    """y of the rows in pixels: (num_rows,) float64 from ``height`` down to 0."""
    return np.linspace(height, 0, num_rows)


def lanes_to_rows(lanes: Sequence[Tensor], num_rows: int, width: int, height: int) -> RowLanes:
    """x of lanes at the rows, prolonged to the bottom of the image by a straight line.

    Args:
        lanes (Sequence[Tensor]): (P, 2) points each, pixels, on the CPU.
        num_rows (int): S.
        width (int): Of the image in pixels; a lane starts where it is inside of it.
        height (int): Of the image in pixels.

    Returns:
        RowLanes: Of the lanes that reach a row. x above a lane's end is repeated from there.
    """
    ys = row_heights(num_rows, height)
    encoded = [_lane_on_rows(lane.numpy().astype(np.float64), ys, width) for lane in lanes]
    encoded = [lane for lane in encoded if lane is not None]
    if not encoded:
        return RowLanes(torch.zeros(0, num_rows), torch.zeros(0), torch.zeros(0))
    xs, starts, lengths = (
        torch.as_tensor(np.array(part)).float() for part in zip(*encoded, strict=True)
    )
    return RowLanes(xs, starts, lengths)


def row_lane_distances(first: RowLanes, second: RowLanes) -> Tensor:
    """Mean horizontal distance of each pair of lanes over the rows that both have.

    Args:
        first (RowLanes): N lanes.
        second (RowLanes): M lanes.

    Returns:
        Tensor: (N, M) pixels, infinity where the two share no row.
    """
    num_rows = first.xs.shape[1]
    step = max(1, MAX_ELEMENTS // max(1, len(second) * num_rows))
    parts = [
        _distances(first[begin : begin + step], second) for begin in range(0, len(first), step)
    ]
    return torch.cat(parts) if parts else first.xs.new_zeros(0, len(second))


def _distances(first: RowLanes, second: RowLanes) -> Tensor:
    """The same, at once."""
    rows = torch.arange(first.xs.shape[1], device=first.xs.device)
    begins = torch.maximum(first.starts[:, None], second.starts[None]).round().long()
    ends = torch.minimum(first.ends[:, None], second.ends[None])
    shared = (rows >= begins[..., None]) & (rows <= ends[..., None])
    differences = (first.xs[:, None] - second.xs[None]).abs().masked_fill_(~shared, 0).sum(dim=2)
    counts = shared.sum(dim=2)
    return torch.where(counts > 0, differences / counts, torch.inf)


def _lane_on_rows(points: np.ndarray, ys: np.ndarray, width: int) -> tuple | None:
    """x at the rows, first row and number of rows of one lane; None where it reaches no row."""
    heights, first = np.unique(points[:, 1], return_index=True)
    columns = points[first, 0]
    if len(heights) < 2:
        return None
    xs = np.interp(ys, heights, columns)
    slope = (columns[-1] - columns[-2]) / (heights[-1] - heights[-2])
    below = ys > heights[-1]
    xs[below] = columns[-1] + slope * (ys[below] - heights[-1])
    inside = np.flatnonzero((ys >= heights[0]) & (xs >= 0) & (xs < width))
    # Only the prolongation leaves the image: what is inside is one run up to the lane's end.
    return (xs, inside[0], len(inside)) if len(inside) else None
