"""Anchor heads of mmdet that decode boxes with a box coder."""

from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor

from .dense_head import DenseHeadAdapter


@TASK_UTILS.register_module()
class AnchorHeadAdapter(DenseHeadAdapter):
    """RetinaNet, ATSS, SSD and YOLOF: box deltas to anchors.

    YOLOF's own forward adds its objectness to the class logits.
    """

    head_types: ClassVar = ('RetinaHead', 'RetinaSepBNHead', 'ATSSHead', 'SSDHead', 'YOLOFHead')

    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        flat = self.head.bbox_coder.decode(
            priors.repeat(len(bbox), 1), bbox.reshape(-1, bbox.shape[-1])
        )
        return flat.view(len(bbox), -1, 4)
