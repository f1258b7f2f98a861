"""What LSTR learns of a lane."""

from dataclasses import dataclass

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from mmptq.lanes.geometry.lane_points import lane_xs

from .lane_encoding import input_size


@dataclass
class LSTRTargets:
    """Lanes of one image, as shares of its width and height.

    Attributes:
        tops (Tensor): (G,) y of the upper ends.
        bottoms (Tensor): (G,) y of the lower ends.
        xs (Tensor): (G, R) x at fixed rows, 0 where the lane does not reach.
        valid (Tensor): (G, R) where it does.
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
        rows (Tensor): (R,) y as shares of the height; the targets go to its device.

    Returns:
        LSTRTargets: Of all lanes.
    """
    height, width = input_size(sample)
    lanes = [lane.numpy() for lane in sample.gt_lanes]
    pixels = (rows * height).cpu().numpy()
    xs = [torch.from_numpy(lane_xs(lane, pixels)) / width for lane in lanes]
    xs = torch.stack(xs).to(rows) if xs else rows.new_zeros(0, len(rows))
    valid = xs.isfinite()
    ends = [[lane[:, 1].min() / height, lane[:, 1].max() / height] for lane in lanes]
    ends = rows.new_tensor(ends).reshape(-1, 2)
    return LSTRTargets(ends[:, 0], ends[:, 1], torch.where(valid, xs, 0), valid)


def row_weights(valid: Tensor) -> Tensor:
    """Weights that let long lanes count less per row: the root of the share of the shortest.

    Args:
        valid (Tensor): (G, R) where each lane of the batch has a row.

    Returns:
        Tensor: (G,) up to 1.
    """
    counts = valid.sum(dim=1).clamp(min=1).float()
    return (counts.min() / counts).sqrt() if len(counts) else counts
