"""Detections of a file beside those of the detector."""

from dataclasses import dataclass

import torch
from mmengine.structures import InstanceData
from torch import Tensor

# The file may differ by rounding and by boxes at a threshold.
LEAST_SHARE = 0.99
SAME_IOU, SAME_SCORE = 0.99, 0.01
# Empty boxes have no IoU; these are equal.
SAME_PIXEL = 1e-3


@dataclass
class Share:
    """How many detections are the same: of equal class, with large IoU and near scores.

    Attributes:
        same (int): Pairs.
        all (int): Detections of the side that has more of them.
    """

    same: int = 0
    all: int = 0

    def update(self, found: InstanceData, expected: InstanceData) -> None:
        """Count one image."""
        self.same += count_same(found, expected)
        self.all += max(len(found), len(expected))

    @property
    def value(self) -> float:
        """From 0 to 1; 1 where there is no detection."""
        return self.same / self.all if self.all else 1.0

    def __str__(self) -> str:
        return f'{100 * self.value:.1f} % of {self.all}'


def count_same(found: InstanceData, expected: InstanceData) -> int:
    """Number of detections that have a partner; each is taken once."""
    if not len(found) or not len(expected):
        return 0
    same = (found.labels[:, None] == expected.labels) & (
        (found.scores[:, None] - expected.scores).abs() < SAME_SCORE
    )
    overlap = pairwise_iou(found.bboxes, expected.bboxes)
    near = (found.bboxes[:, None] - expected.bboxes).abs().amax(-1) < SAME_PIXEL
    overlap = torch.where(near, torch.ones_like(overlap), overlap)
    overlap = torch.where(same, overlap, torch.zeros_like(overlap))
    pairs = 0
    for row in found.scores.argsort(descending=True).tolist():
        best = int(overlap[row].argmax())
        if overlap[row, best] > SAME_IOU:
            pairs += 1
            overlap[:, best] = 0
    return pairs


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (n, m) of corners (n, 4) and (m, 4); 0 for empty boxes."""
    low = torch.maximum(a[:, None, :2], b[:, :2])
    size = (torch.minimum(a[:, None, 2:], b[:, 2:]) - low).clamp(min=0)
    common = size.prod(-1)
    areas = [(x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (a, b)]
    union = areas[0][:, None] + areas[1] - common
    return common / union.clamp(min=1e-9)


def from_file(
    boxes: Tensor, scores: Tensor, labels: Tensor, img_shape: tuple[int, ...] | None = None
) -> InstanceData:
    """Detections of one image, of what a file gives.

    Args:
        boxes (Tensor): (N, 4), in pixels of the input.
        scores (Tensor): (N,).
        labels (Tensor): (N,); -1 where there is no detection.
        img_shape (tuple[int], optional): Height and width without padding, where boxes are
            cut. Defaults to None.
    """
    valid = labels >= 0
    boxes = boxes[valid]
    if img_shape is not None:
        height, width = img_shape[:2]
        border = torch.tensor([width, height] * 2, dtype=boxes.dtype, device=boxes.device)
        boxes = torch.minimum(boxes, border)
    return InstanceData(bboxes=boxes, scores=scores[valid], labels=labels[valid])
