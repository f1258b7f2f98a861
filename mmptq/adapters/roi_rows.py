"""Rows of a RoI head: one per proposal, of all images of a batch."""

import torch
from mmdet.models.task_modules.samplers import PseudoSampler
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .head_losses import sum_losses
from .head_output import HeadOutput


def split_rows(rois: Tensor, rows: Tensor, num_images: int) -> list[Tensor]:
    """Rows (n, ...) of all proposals, one tensor per image.

    Args:
        rois (Tensor): (n, 5), the index of the image first.
        rows (Tensor): (n, ...).
        num_images (int): Images in the batch; some may have no proposal.
    """
    return [rows[rois[:, 0] == index] for index in range(num_images)]


def rows_by_image(rois: Tensor, rows: Tensor, num_images: int) -> Tensor:
    """Rows (n, D) of all proposals as (B, N, D), padded with zeros."""
    return pad_sequence(split_rows(rois, rows, num_images), batch_first=True)


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """The values (n, ...) of the labelled classes from values (n, K, ...); K may be 1."""
    if values.shape[1] == 1:
        return values[:, 0]
    return values[torch.arange(len(values), device=values.device), labels]


def boxes_of_class(head: nn.Module, rois: Tensor, deltas: Tensor, labels: Tensor) -> Tensor:
    """Decoded boxes (n, 4) of the labelled classes."""
    boxes = head.bbox_coder.decode(rois[:, 1:], deltas)
    return of_class(boxes.view(len(boxes), deltas.shape[1] // 4, 4), labels)


def box_output(
    name: str, head: nn.Module, rows: dict[str, Tensor], labels: Tensor, num_images: int
) -> HeadOutput:
    """What a box head says of each proposal.

    Args:
        name (str): Of the output.
        head (nn.Module): The box head.
        rows (dict): ``rois`` (n, 5), ``cls_score`` (n, K + 1), ``bbox_pred`` (n, 4 K) or (n, 4).
        labels (Tensor): (n,) classes whose boxes are compared.
        num_images (int): Images in the batch.
    """
    rois = rows['rois']
    boxes = boxes_of_class(head, rois, rows['bbox_pred'], labels)
    deltas = rows['bbox_pred']
    deltas = deltas.view(len(boxes), deltas.shape[1] // 4, 4)
    return HeadOutput(
        name,
        rows_by_image(rois, rows['cls_score'], num_images),
        dict(bbox=rows_by_image(rois, of_class(deltas, labels), num_images)),
        rows_by_image(rois, boxes, num_images),
        softmax=True,
    )


def box_loss(
    head: nn.Module, assigner: object, train_cfg: dict, rows: dict[str, Tensor], labels: list
) -> dict[str, Tensor]:
    """The losses of a box head on all proposals; training samples some of them at random.

    Args:
        head (nn.Module): The box head.
        assigner (object): Gives each proposal its object.
        train_cfg (dict): Settings of the head.
        rows (dict): See ``box_output``.
        labels (list): Data samples with ``gt_instances``, one per image.
    """
    sampled, order, offset = [], [], 0
    for rois, sample in zip(_rois_of(rows, labels), labels, strict=True):
        priors = InstanceData(priors=rois[:, 1:])
        assigned = assigner.assign(priors, sample.gt_instances)
        sampled.append(PseudoSampler().sample(assigned, priors, sample.gt_instances))
        # The head orders the proposals of an image: positives first, then negatives.
        order += [sampled[-1].pos_inds + offset, sampled[-1].neg_inds + offset]
        offset += len(rois)
    order = torch.cat(order)
    result = head.loss_and_target(
        *(rows[key][order] for key in ('cls_score', 'bbox_pred', 'rois')), sampled, train_cfg
    )
    return sum_losses(result['loss_bbox'])


def _rois_of(rows: dict[str, Tensor], labels: list[BaseDataElement]) -> list[Tensor]:
    return split_rows(rows['rois'], rows['rois'], len(labels))
