"""The head of YOLOX."""

from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor

from .dense_head import DenseHeadAdapter


@TASK_UTILS.register_module()
class YOLOXHeadAdapter(DenseHeadAdapter):
    """YOLOX: offset from a point and logarithmic size, both in strides."""

    head_types: ClassVar = ('YOLOXHead',)

    def level_priors(self, raw: tuple[list[Tensor], ...]) -> list[Tensor]:
        return self.head.prior_generator.grid_priors(
            [tuple(x.shape[-2:]) for x in raw[0]],
            dtype=raw[0][0].dtype,
            device=raw[0][0].device,
            with_stride=True,
        )

    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        return self.head._bbox_decode(priors, bbox)
