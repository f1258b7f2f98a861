"""Decode lanes from class probabilities of pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmptq.lanes.geometry.lane_raster import SAMPLES_PER_SEGMENT, interpolate_lane

# Spline samples kept between two rows, for metrics that interpolate linearly (TuSimple).
SAMPLES_KEPT = 2


@dataclass(frozen=True)
class LaneSegDecoding:
    """Post-processing of SCNN, RESA and ENet-SAD.

    Probabilities are smoothed. For each existing lane, the best column of every ``row_step``-th
    row, counted from the bottom of the original image, becomes a point if its probability is large
    enough. A cubic spline connects the points; lanes with one point are dropped.

    Args:
        exist_thr (float): Minimum probability that the lane exists.
        pixel_thr (float): Minimum probability of a point.
        row_step (int): Distance of rows in pixels of the original image.
        max_rows (int, optional): Maximum number of rows; None for all rows of the input.
        window (int): Side of the averaging window in pixels, odd.
    """

    exist_thr: float = 0.5
    pixel_thr: float = 0.3
    row_step: int = 20
    max_rows: int | None = None
    window: int = 9

    def __call__(self, shares: Tensor, exists: Tensor, metainfo: dict) -> list[Tensor]:
        """Lanes of one image.

        Args:
            shares (Tensor): (K, H, W) probability of each lane position in each pixel of the input.
            exists (Tensor): (K,) probability that the lane exists.
            metainfo (dict): With ``ori_shape`` and ``homography_matrix`` of a test pipeline, which
                does not rotate.

        Returns:
            list[Tensor]: (N, 2) float32 each, x and y in pixels of the input, bottom to top.
        """
        taken = exists > self.exist_thr
        rows = self._rows(shares.shape[1], metainfo)
        if not taken.any() or not len(rows):
            return []
        half = self.window // 2
        smooth = F.pad(shares[taken][None], (half,) * 4, mode='replicate')
        smooth = F.avg_pool2d(smooth, self.window, stride=1)[0]
        pixel_rows = rows.round().clamp(max=shares.shape[1] - 1).long().to(shares.device)
        best, columns = smooth[:, pixel_rows].max(dim=2)
        best, columns = best.cpu(), columns.cpu()
        lanes = []
        for values, xs in zip(best, columns, strict=True):
            found = values > self.pixel_thr
            if found.sum() > 1:
                lanes.append(_spline(torch.stack([xs[found].float(), rows[found]], dim=1)))
        return lanes

    def _rows(self, height: int, metainfo: dict) -> Tensor:
        """y in pixels of the input, from the lower border of the original image upwards."""
        matrix = metainfo['homography_matrix']
        bottom = metainfo['ori_shape'][0]
        originals = np.arange(bottom, -1, -self.row_step, dtype=np.float64)[: self.max_rows]
        rows = matrix[1, 1] * originals + matrix[1, 2]
        return torch.as_tensor(rows[(rows >= 0) & (rows <= height)], device='cpu').float()


def _spline(points: Tensor) -> Tensor:
    """Samples of the cubic spline through points, including the points."""
    if len(points) < 3:
        return points
    samples = interpolate_lane(points.cpu().numpy())[:: SAMPLES_PER_SEGMENT // SAMPLES_KEPT]
    return torch.as_tensor(samples.copy(), device=points.device)
