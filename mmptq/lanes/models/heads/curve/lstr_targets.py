"""Training targets of LSTR."""

from dataclasses import dataclass

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from mmptq.lanes.geometry.lane_points import lane_xs

from .lane_encoding import input_size


@dataclass
class LSTRTargets:
    """Lanes of one image, relative to its width and height.

    Attributes:
        tops (Tensor): (G,) y of the upper ends.
        bottoms (Tensor): (G,) y of the lower ends.
        xs (Tensor): (G, R) x at fixed rows, 0 at rows that the lane does not reach.
        valid (Tensor): (G, R) bool, rows that the lane reaches.
    """

    tops: Tensor
    bottoms: Tensor
    xs: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return len(self.tops)


def encode(sample: DetDataSample, rows: Tensor) -> LSTRTargets:
    """Targets of one image.

    Args:
        sample (DetDataSample): With ``gt_lanes`` in pixels of the input.
        rows (Tensor): (R,) y relative to the height; targets are on its device.

    Returns:
        LSTRTargets: Targets of all lanes.
    """
    height, width = input_size(sample)
    lanes = [lane.cpu().numpy() for lane in sample.gt_lanes]
    pixels = (rows * height).cpu().numpy()
    xs = [torch.as_tensor(lane_xs(lane, pixels), device='cpu') / width for lane in lanes]
    xs = torch.stack(xs).to(rows) if xs else rows.new_zeros(0, len(rows))
    valid = xs.isfinite()
    ends = [[lane[:, 1].min() / height, lane[:, 1].max() / height] for lane in lanes]
    ends = rows.new_tensor(ends).reshape(-1, 2)
    return LSTRTargets(ends[:, 0], ends[:, 1], torch.where(valid, xs, 0), valid)


def row_weights(valid: Tensor) -> Tensor:
    """Weights that reduce the loss per row of long lanes: sqrt(rows of the shortest / rows).

    Args:
        valid (Tensor): (G, R) bool, rows of each lane of the batch.

    Returns:
        Tensor: (G,) weights, at most 1.
    """
    counts = valid.sum(dim=1).clamp(min=1).float()
    return (counts.min() / counts).sqrt() if len(counts) else counts
