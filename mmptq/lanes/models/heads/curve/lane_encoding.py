"""Encoding of lanes shared by several heads."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from mmptq.lanes.geometry.lane_raster import draw_lane


def input_size(sample: DetDataSample) -> tuple[int, int]:
    """Height and width of the model's input, including padding."""
    meta = sample.metainfo
    return tuple(meta.get('batch_input_shape') or meta['img_shape'])[:2]


def lane_masks(samples: Sequence[DetDataSample], lane_width: int) -> Tensor:
    """Masks of lane pixels of the input.

    Args:
        samples (Sequence[DetDataSample]): B samples of the same size, with ``gt_lanes``.
        lane_width (int): Thickness in pixels of the input.

    Returns:
        Tensor: (B, H, W) bool, on the CPU.
    """
    height, width = input_size(samples[0])
    masks = torch.zeros(len(samples), height, width, dtype=torch.bool, device='cpu')
    for mask, sample in zip(masks, samples, strict=True):
        for lane in sample.gt_lanes:
            drawn = draw_lane(lane.cpu().numpy(), (width, height), lane_width)
            if drawn is not None:
                part = mask[drawn.top :, drawn.left :]
                rows, columns = drawn.pixels.shape
                part[:rows, :columns] |= torch.as_tensor(drawn.pixels, device='cpu').bool()
    return masks
