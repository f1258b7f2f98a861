"""Heads of mmdet that predict distances from points."""

from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.utils import trees

from .dense_head import DenseHeadAdapter


class PointHeadAdapter(DenseHeadAdapter):
    """Distances from a point to the four sides of a box, in pixels."""

    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        return self.head.bbox_coder.decode(priors.expand(len(bbox), -1, -1), bbox)


@TASK_UTILS.register_module()
class RTMDetHeadAdapter(PointHeadAdapter):
    """RTMDet, with separate or shared BatchNorms per level."""

    head_types: ClassVar = ('RTMDetHead', 'RTMDetSepBNHead')


@TASK_UTILS.register_module()
class FCOSHeadAdapter(PointHeadAdapter):
    """FCOS; its target assignment needs no train_cfg."""

    head_types: ClassVar = ('FCOSHead',)
    assigns_by_train_cfg = False

    def loss_inputs(self, raw: tuple[list[Tensor], ...]) -> tuple:
        scores, boxes, centerness = trees.clone_tensors(raw)
        if self.head.norm_on_bbox:
            # The head multiplies by the stride in eval mode but not in training.
            strides = self.head.prior_generator.strides
            boxes = [box / stride[0] for box, stride in zip(boxes, strides, strict=True)]
        return scores, boxes, centerness


@TASK_UTILS.register_module()
class GFLHeadAdapter(DenseHeadAdapter):
    """GFL: a distribution over distances for each of the four sides."""

    head_types: ClassVar = ('GFLHead',)

    def num_regs(self) -> int:
        return 4 * (self.head.reg_max + 1)

    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        head = self.head
        distance = head.integral(bbox) * head.prior_generator.strides[level][0]
        points = head.anchor_center(priors).expand(len(bbox), -1, -1)
        return head.bbox_coder.decode(points, distance.view(len(bbox), -1, 4))
