"""Lane heads with one score and one curve per anchor, query or column."""

from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor

from .head_output import HeadOutput
from .lane_head import LaneHeadAdapter, background_last


@TASK_UTILS.register_module()
class LaneATTHeadAdapter(LaneHeadAdapter):
    """LaneATT: a length and offsets of x, in pixels, for each anchor."""

    head_types: ClassVar = ('LaneATTHead',)

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = dict(length=raw['reg'][..., :1], offset=raw['reg'][..., 1:])
        scores = background_last(raw['logits'])
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]


@TASK_UTILS.register_module()
class LSTRHeadAdapter(LaneHeadAdapter):
    """LSTR: ends and coefficients of a curve for each query, four of them shared by all."""

    head_types: ClassVar = ('LSTRHead',)

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        ends, shared, own = raw['curves'].split([2, 4, 2], dim=-1)
        scores = background_last(raw['logits'])
        regs = dict(ends=ends, shared=shared, own=own)
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]


@TASK_UTILS.register_module()
class BezierHeadAdapter(LaneHeadAdapter):
    """BezierLaneNet: a score and four control points for each column."""

    head_types: ClassVar = ('BezierHead',)

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = dict(control_points=raw['curves'].flatten(2))
        return [HeadOutput(self.head_names[-1], raw['logits'][..., None], regs)]
