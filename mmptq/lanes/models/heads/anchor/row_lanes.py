"""Lanes as one x for each of some fixed image rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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
        """(N,) int64, last row; smaller than the first row for an empty lane."""
        last = (self.starts + self.lengths - 1).round().long()
        return last.clamp(max=self.xs.shape[1] - 1)

    @property
    def shown(self) -> Tensor:
        """(N, S) bool, rows that the lane reaches."""
        rows = torch.arange(self.xs.shape[1], device=self.xs.device)
        return (rows >= self.starts.round()[:, None]) & (rows <= self.ends[:, None])


def row_heights(num_rows: int, height: int) -> np.ndarray:
    """y of the rows in pixels: (num_rows,) float64 from ``height`` down to 0."""
    return np.linspace(height, 0, num_rows)


def lanes_to_rows(lanes: Sequence[Tensor], num_rows: int, width: int, height: int) -> RowLanes:
    """x of lanes at the rows, extended to the bottom of the image by a straight line.

    Args:
        lanes (Sequence[Tensor]): (P, 2) points each, in pixels, on the CPU.
        num_rows (int): Number of rows S.
        width (int): Width of the image in pixels; a lane starts at its first row inside the image.
        height (int): Height of the image in pixels.

    Returns:
        RowLanes: The lanes that reach a row. Above the end of a lane its last x is repeated.
    """
    ys = row_heights(num_rows, height)
    encoded = [_lane_on_rows(lane.cpu().numpy().astype(np.float64), ys, width) for lane in lanes]
    encoded = [lane for lane in encoded if lane is not None]
    if not encoded:
        none = torch.zeros(0, device='cpu')
        return RowLanes(none.new_zeros(0, num_rows), none, none)
    xs, starts, lengths = (
        torch.as_tensor(np.array(part), device='cpu').float() for part in zip(*encoded, strict=True)
    )
    return RowLanes(xs, starts, lengths)


def row_lane_distances(first: RowLanes, second: RowLanes) -> Tensor:
    """Mean horizontal distance of each pair of lanes over the rows that both have.

    Args:
        first (RowLanes): N lanes.
        second (RowLanes): M lanes.

    Returns:
        Tensor: (N, M) pixels, infinity for lanes without common rows.
    """
    first_shown, second_shown = first.shown.to(first.xs.dtype), second.shown.to(second.xs.dtype)
    counts = first_shown @ second_shown.T
    sums = torch.zeros_like(counts)
    # Row by row, because (N, M, S) values exceed the cache and often the memory.
    rows = zip(first.xs.T, second.xs.T, first_shown.T, second_shown.T, strict=True)
    for first_xs, second_xs, first_weights, second_weights in rows:
        differences = (first_xs[:, None] - second_xs).abs_()
        sums += differences.mul_(first_weights[:, None]).mul_(second_weights)
    return torch.where(counts > 0, sums / counts, torch.inf)


def row_lane_points(lanes: RowLanes, width: int, height: int) -> list[Tensor]:
    """Points of lanes, extended below their first row as long as they are in the image.

    Args:
        lanes (RowLanes): N lanes.
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.

    Returns:
        list[Tensor]: (P, 2) points in pixels, bottom to top; lanes of less than two points are left
        out.
    """
    num_rows = lanes.xs.shape[1]
    ys = lanes.xs.new_tensor(row_heights(num_rows, height))
    rows = torch.arange(num_rows, device=lanes.xs.device)
    points = []
    for xs, start, end in zip(lanes.xs, lanes.starts, lanes.ends, strict=True):
        inside = (rows >= start) | ((xs >= 0) & (xs <= width))
        connected = inside.flip(0).cumprod(0).flip(0).bool()
        shown = connected & (rows <= end) & (xs >= 0)
        if shown.sum() > 1:
            points.append(torch.stack([xs[shown], ys[shown]], dim=1))
    return points


def _lane_on_rows(points: np.ndarray, ys: np.ndarray, width: int) -> tuple | None:
    """x at the rows, first row and number of rows of a lane; None if it reaches no row."""
    heights, first = np.unique(points[:, 1], return_index=True)
    columns = points[first, 0]
    if len(heights) < 2:
        return None
    xs = np.interp(ys, heights, columns)
    slope = (columns[-1] - columns[-2]) / (heights[-1] - heights[-2])
    below = ys > heights[-1]
    xs[below] = columns[-1] + slope * (ys[below] - heights[-1])
    inside = np.flatnonzero((ys >= heights[0]) & (xs >= 0) & (xs < width))
    # Only the extension leaves the image, so the rows inside are contiguous.
    return (xs, inside[0], len(inside)) if len(inside) else None
