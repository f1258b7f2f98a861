"""Rows of a mask head: masks of boxes that the float model chose."""

from typing import Any

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from .head_output import HeadOutput
from .roi_rows import of_class, rows_by_image, split_rows

MOST = 16  # boxes per image whose masks are compared
# Data samples keep these boxes, and pseudo labels the masks of the float model.
BOXES, TARGETS = 'mask_boxes', 'mask_targets'


def keep_mask_boxes(
    samples: list[BaseDataElement], rois: Tensor, boxes: Tensor, scores: Tensor
) -> None:
    """Store the boxes with the highest class scores in the data samples.

    Args:
        samples (list): Get ``mask_boxes`` with ``bboxes`` (m, 4) and ``labels`` (m,).
        rois (Tensor): (n, 5); the first column says the image.
        boxes (Tensor): (n, 4) refined by the float model, of the best class.
        scores (Tensor): (n, K + 1) logits, background last.
    """
    best, labels = scores.softmax(-1)[:, :-1].max(1)
    count = len(samples)
    rows = (split_rows(rois, x, count) for x in (boxes, best, labels))
    for sample, box, score, label in zip(samples, *rows, strict=True):
        height, width = sample.metainfo['batch_input_shape']
        inside = torch.minimum(box.clamp(min=0), box.new_tensor([width, height] * 2))
        order = score.argsort(descending=True)[:MOST]
        setattr(sample, BOXES, InstanceData(bboxes=inside[order], labels=label[order]))


def mask_inputs(samples: list[BaseDataElement]) -> dict[str, Tensor]:
    """``mask_rois`` (m, 5) and ``mask_labels`` (m,) of all images."""
    kept = [getattr(sample, BOXES) for sample in samples]
    return dict(
        mask_rois=bbox2roi([x.bboxes for x in kept]),
        mask_labels=torch.cat([x.labels for x in kept]),
    )


def mask_output(name: str, raw: dict[str, Any], masks: Tensor, num_images: int) -> HeadOutput:
    """Pixels of the masks as positions, with the logit of the mask of the labelled class.

    Args:
        name (str): Of the output.
        raw (dict): With ``mask_rois`` and ``mask_labels``.
        masks (Tensor): (m, K, h, w) logits.
        num_images (int): Images in the batch.

    Returns:
        HeadOutput: Scores (B, M h w, 1); there are no boxes.
    """
    rows = of_class(masks, raw['mask_labels']).flatten(1)
    rows = rows_by_image(raw['mask_rois'], rows, num_images)
    return HeadOutput(name, rows.flatten(1).unsqueeze(-1))


def keep_mask_targets(
    labels: list[BaseDataElement], raw: dict[str, Any], masks: list[Tensor]
) -> None:
    """Store in pseudo labels which pixels of each mask are inside, by the float model.

    Args:
        labels (list): Get ``mask_targets``, one (m, h, w) tensor of 0 and 1 per mask head.
        raw (dict): Raw outputs of the float model.
        masks (list[Tensor]): (m, K, h, w) logits, of one mask head each.
    """
    found = [(of_class(x, raw['mask_labels']) > 0).to(x.dtype) for x in masks]
    parts = [split_rows(raw['mask_rois'], x, len(labels)) for x in found]
    for index, label in enumerate(labels):
        setattr(label, TARGETS, [part[index] for part in parts])


def mask_loss(
    head: nn.Module, raw: dict[str, Any], masks: Tensor, labels: list[BaseDataElement], index: int
) -> Tensor:
    """The loss of a mask head against the masks of the float model, on the same boxes.

    Args:
        head (nn.Module): The mask head.
        raw (dict): Raw outputs of the quantized model.
        masks (Tensor): (m, K, h, w) logits of the head.
        labels (list): Pseudo labels.
        index (int): Which mask head of a cascade.
    """
    targets = torch.cat([getattr(label, TARGETS)[index] for label in labels])
    if not len(targets):
        return masks.sum() * 0
    classes = raw['mask_labels']
    classes = torch.zeros_like(classes) if head.class_agnostic else classes
    return head.loss_mask(masks, targets, classes).sum()
