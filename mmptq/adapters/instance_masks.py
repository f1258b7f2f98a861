"""Detections with masks in the form of ground truth."""

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from .ground_truth import as_ground_truth, best_of


def as_masked_ground_truth(
    sample: BaseDataElement, result: InstanceData, score_thr: float, top_k: int
) -> BaseDataElement:
    """A data sample whose ground truth is the best detections of a result with masks.

    Args:
        sample (BaseDataElement): Its meta information is kept.
        result (InstanceData): bboxes (n, 4), scores (n,), labels (n,) and masks (n, h, w), of the
            size of the network's input.
        score_thr (float): Only detections with a higher score are kept.
        top_k (int): Maximum number of detections.
    """
    result = best_of(result, score_thr, top_k)
    label = as_ground_truth(sample, result, score_thr, top_k)
    label.gt_instances.masks = to_bitmap(result.masks, sample.metainfo['batch_input_shape'])
    return label


def as_masked_ground_truths(
    samples: list[BaseDataElement], results: list[InstanceData], score_thr: float, top_k: int
) -> list[BaseDataElement]:
    """``as_masked_ground_truth`` of each sample of a batch."""
    pairs = zip(samples, results, strict=True)
    return [as_masked_ground_truth(sample, result, score_thr, top_k) for sample, result in pairs]


def to_bitmap(masks: Tensor, size: tuple[int, int]) -> BitmapMasks:
    """Masks (n, h, w) as the losses of mmdet take them, cut or padded to ``size``."""
    height, width = size
    array = np.zeros((len(masks), height, width), dtype=np.uint8)
    part = masks[:, :height, :width].to(torch.uint8).cpu().numpy()
    array[:, : part.shape[1], : part.shape[2]] = part
    return BitmapMasks(array, height, width)
