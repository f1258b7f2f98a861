"""3D detections as if they were ground truth."""

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor


def best_detections(
    result: InstanceData, score_thr: float, top_k: int, classes: range | None = None
) -> Tensor:
    """Indices (m,) of the detections with a score above ``score_thr``, the best first.

    A box that is not finite (sizes are exponentials) is no target and is left out.

    Args:
        result (InstanceData): bboxes_3d, scores_3d (n,) and labels_3d (n,).
        score_thr (float): Scores must be higher.
        top_k (int): Most detections.
        classes (range, optional): Labels that count; None is all. Defaults to None.
    """
    good = (result.scores_3d > score_thr) & result.bboxes_3d.tensor.isfinite().all(1)
    if classes is not None:
        good &= (result.labels_3d >= classes.start) & (result.labels_3d < classes.stop)
    indices = good.nonzero().flatten()
    return indices[result.scores_3d[indices].argsort(descending=True)[:top_k]]


def as_ground_truth_3d(
    sample: BaseDataElement, result: InstanceData, chosen: Tensor
) -> BaseDataElement:
    """A data sample whose ground truth are some detections of a 3D detector.

    Args:
        sample (BaseDataElement): Gives the meta info.
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
