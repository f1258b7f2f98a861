"""The head of RepPoints."""

from typing import Any, ClassVar

from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor

from .dense_head import DenseHeadAdapter
from .head_losses import get_metainfo, require_train_cfg
from .head_output import flatten_level


@TASK_UTILS.register_module()
class RepPointsHeadAdapter(DenseHeadAdapter):
    """RepPoints: class scores and the box around the refined points, in strides from its centre.

    Note:
        In eval mode the head returns boxes and no points. Targets are assigned to these boxes,
        whereas training assigns them to the boxes around the initial points, and the loss of the
        initial points is left out.
    """

    head_types: ClassVar = ('RepPointsHead',)

    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        centers = priors[:, :2].repeat(1, 2)
        return bbox * self.head.point_strides[level] + centers

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        head = self.head
        require_train_cfg(head, self.head_names[-1])
        metas = get_metainfo(pseudo_labels)
        sizes = [tuple(x.shape[-2:]) for x in raw[0]]
        _, valid = head.get_points(sizes, metas, raw[0][0].device)
        boxes = [
            self.decode_boxes(flatten_level(bbox, 4), priors, level)
            for level, (bbox, priors) in enumerate(zip(raw[1], self.level_priors(raw), strict=True))
        ]
        labels, label_weights, wanted, _, box_weights, count = head.get_targets(
            [[level[index].detach() for level in boxes] for index in range(len(metas))],
            valid,
            [sample.gt_instances for sample in pseudo_labels],
            metas,
            stage='refine',
        )
        losses = dict(loss_cls=0.0, loss_pts_refine=0.0)
        for level, scores in enumerate(raw[0]):
            losses['loss_cls'] += head.loss_cls(
                flatten_level(scores, head.cls_out_channels).flatten(0, 1),
                labels[level].flatten(),
                label_weights[level].flatten(),
                avg_factor=count,
            )
            scale = head.point_base_scale * head.point_strides[level]
            losses['loss_pts_refine'] += head.loss_bbox_refine(
                boxes[level].flatten(0, 1) / scale,
                wanted[level].flatten(0, 1) / scale,
                box_weights[level].flatten(0, 1),
                avg_factor=count,
            )
        return losses
