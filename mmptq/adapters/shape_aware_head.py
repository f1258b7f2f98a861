"""The head of SSN: small heads for classes of similar shape."""

from typing import ClassVar

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from .anchor3d_head import Anchor3DHeadAdapter
from .head_output import HeadOutput


@TASK_UTILS.register_module()
class ShapeAwareHeadAdapter(Anchor3DHeadAdapter):
    """SSN: rows (B, N, K) of all anchors, where other heads return maps.

    The heads have maps of different sizes, so that their anchors are rows of one tensor per level.
    """

    head_types: ClassVar = ('ShapeAwareHead',)

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        names = ('bbox', 'direction')[: 1 + self.head.use_direction_classifier]
        regs = {name: torch.cat(list(rows), 1) for name, rows in zip(names, raw[1:], strict=False)}
        scores, softmax = torch.cat(list(raw[0]), 1), not self.head.use_sigmoid_cls
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=softmax)]
