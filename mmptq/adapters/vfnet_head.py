"""The head of VarifocalNet."""

from typing import Any, ClassVar

from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmptq.utils import trees

from .point_head import PointHeadAdapter


@TASK_UTILS.register_module()
class VFNetHeadAdapter(PointHeadAdapter):
    """VFNet: scores that estimate the IoU, and the refined distances, in pixels.

    Note:
        In eval mode the head returns the refined boxes only. The loss has the terms of these and of
        the scores; the one of the initial boxes (``loss_bbox``) is left out.
    """

    head_types: ClassVar = ('VFNetHead',)

    def loss_inputs(self, raw: tuple[list[Tensor], ...]) -> tuple:
        scores, boxes = trees.clone_tensors(raw)
        return scores, boxes, boxes  # the initial ones are not known

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        losses = super().loss(raw, data, pseudo_labels)
        losses.pop('loss_bbox')
        return losses
