"""Lane heads that predict one score and one curve per anchor, query or column."""

from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor

from .head_output import HeadOutput
from .lane_head import LaneHeadAdapter, background_last


@TASK_UTILS.register_module()
class LaneATTHeadAdapter(LaneHeadAdapter):
    """LaneATT: for each anchor a length in rows and offsets of x in pixels."""

    head_types: ClassVar = ('LaneATTHead',)
    slices: ClassVar = {'reg': {'length': 1, 'offset': None}}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = self.sliced('reg', raw['reg'])
        scores = background_last(raw['logits'])
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]


@TASK_UTILS.register_module()
class LSTRHeadAdapter(LaneHeadAdapter):
    """LSTR: ends and coefficients of a curve for each query; four are shared by all queries."""

    head_types: ClassVar = ('LSTRHead',)
    slices: ClassVar = {'curves': {'ends': 2, 'shared': 4, 'own': 2}}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        scores = background_last(raw['logits'])
        regs = self.sliced('curves', raw['curves'])
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]


@TASK_UTILS.register_module()
class BezierHeadAdapter(LaneHeadAdapter):
    """BezierLaneNet: a score and four control points for each column."""

    head_types: ClassVar = ('BezierHead',)
    slices: ClassVar = {'curves': {'control_points': 2}}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = dict(control_points=raw['curves'].flatten(2))
        return [HeadOutput(self.head_names[-1], raw['logits'][..., None], regs)]
