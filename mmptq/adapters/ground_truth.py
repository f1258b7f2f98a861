"""2D detections in the form of ground truth."""

from mmengine.structures import BaseDataElement, InstanceData


def best_of(result: InstanceData, score_thr: float, top_k: int) -> InstanceData:
    """The ``top_k`` detections with the highest scores above ``score_thr``, the best first."""
    result = result[result.scores > score_thr]
    return result[result.scores.argsort(descending=True)[:top_k]]


def as_ground_truth(
    sample: BaseDataElement, result: InstanceData, score_thr: float, top_k: int
) -> BaseDataElement:
    """A data sample whose ground truth is the best detections of a 2D result.

    Args:
        sample (BaseDataElement): Its meta information is kept.
        result (InstanceData): bboxes (n, 4), scores (n,) and labels (n,).
        score_thr (float): Only boxes with a higher score are kept.
        top_k (int): Maximum number of boxes.
    """
    result = best_of(result, score_thr, top_k)
    label = type(sample)(metainfo=sample.metainfo)
    label.gt_instances = InstanceData(
        bboxes=result.bboxes, labels=result.labels, scores=result.scores
    )
    return label


def as_ground_truths(
    samples: list[BaseDataElement], results: list[InstanceData], score_thr: float, top_k: int
) -> list[BaseDataElement]:
    """``as_ground_truth`` of each sample of a batch."""
    pairs = zip(samples, results, strict=True)
    return [as_ground_truth(sample, result, score_thr, top_k) for sample, result in pairs]
