"""3D detections in the form of ground truth."""

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor


def best_detections(
    result: InstanceData, score_thr: float, top_k: int, classes: range | None = None
) -> Tensor:
    """Indices (m,) of the detections with a score above ``score_thr``, the best first.

    Boxes with infinite or NaN values are left out; sizes are exponentials and can overflow.

    Args:
        result (InstanceData): bboxes_3d, scores_3d (n,) and labels_3d (n,).
        score_thr (float): Only detections with a higher score are kept.
        top_k (int): Maximum number of detections.
        classes (range, optional): Labels to keep. Defaults to None, which keeps all.
    """
    good = (result.scores_3d > score_thr) & result.bboxes_3d.tensor.isfinite().all(1)
    if classes is not None:
        good &= (result.labels_3d >= classes.start) & (result.labels_3d < classes.stop)
    indices = good.nonzero().flatten()
    return indices[result.scores_3d[indices].argsort(descending=True)[:top_k]]


def as_ground_truth_3d(
    sample: BaseDataElement, result: InstanceData, chosen: Tensor
) -> BaseDataElement:
    """A data sample whose ground truth is a selection of 3D detections.

    Args:
        sample (BaseDataElement): Its meta information is kept.
        result (InstanceData): bboxes_3d, scores_3d (n,) and labels_3d (n,).
        chosen (Tensor): (m,) indices of the detections.
    """
    label = type(sample)(metainfo=sample.metainfo)
    label.gt_instances_3d = InstanceData(
        bboxes_3d=result.bboxes_3d[chosen],
        scores_3d=result.scores_3d[chosen],
        labels_3d=result.labels_3d[chosen].to(torch.int64),
    )
    return label


def as_ground_truths_3d(
    samples: list[BaseDataElement], results: list[InstanceData], score_thr: float, top_k: int
) -> list[BaseDataElement]:
    """Data samples of a batch whose ground truth is their best detections of all classes."""
    return [
        as_ground_truth_3d(sample, result, best_detections(result, score_thr, top_k))
        for sample, result in zip(samples, results, strict=True)
    ]
