"""Lane heads that detect keypoints."""

from typing import ClassVar

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from .head_output import HeadOutput, flatten_level
from .lane_head import LaneHeadAdapter


@TASK_UTILS.register_module()
class GANetHeadAdapter(LaneHeadAdapter):
    """GANet: for each cell a score and the offsets to its lane's start and to its keypoint."""

    head_types: ClassVar = ('GANetHead',)
    confidence_parts: ClassVar = {'heatmap': None}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = {name: flatten_level(raw[name], 2) for name in ('offset', 'compensation')}
        return [HeadOutput(self.head_names[-1], flatten_level(raw['heatmap'], 1), regs)]

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each cell counts by its confidence, in all parts."""
        return dict.fromkeys(self.parts(raw), raw['heatmap'].sigmoid())
