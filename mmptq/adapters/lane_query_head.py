"""Lane heads that predict one score and one curve per anchor, query or column."""

from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from .head_output import HeadOutput
from .lane_head import LaneHeadAdapter, background_last


@TASK_UTILS.register_module()
class LaneATTHeadAdapter(LaneHeadAdapter):
    """LaneATT: for each anchor a length in rows and offsets of x in pixels."""

    head_types: ClassVar = ('LaneATTHead',)
    slices: ClassVar = {'reg': {'length': 1, 'offset': None}}
    confidence_parts: ClassVar = {'logits': -1}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = self.sliced('reg', raw['reg'])
        scores = background_last(raw['logits'])
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each anchor counts by its confidence; offsets only up to the end of its lane."""
        lane = _lane_probability(raw['logits'])
        return dict(logits=lane, length=lane, offset=lane * self._reached_rows(raw['reg']))

    def _reached_rows(self, reg: Tensor) -> Tensor:
        """(B, A, S) bool, rows that are not above the upper end of the anchor's lane."""
        last = self.head.anchors.lanes().starts + reg[..., 0] - 1
        rows = torch.arange(reg.shape[-1] - 1, device=reg.device)
        return rows <= last.round()[..., None]


@TASK_UTILS.register_module()
class CLRHeadAdapter(LaneHeadAdapter):
    """CLRNet: for each prior a start, an angle and a length of its line, and offsets of x from it.

    Only the last stage has outputs in a test. A prior keeps its index in all stages, so that rows
    of the float and the quantized model belong together.
    """

    head_types: ClassVar = ('CLRHead',)
    slices: ClassVar = {'lines': {'start': 2, 'angle': 1, 'length': 1}}
    confidence_parts: ClassVar = {'logits': -1}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = self.sliced('lines', raw['lines']) | dict(offsets=raw['offsets'])
        scores = background_last(raw['logits'])
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each prior counts by its confidence; offsets only up to the end of its lane."""
        lane = _lane_probability(raw['logits'])
        masks = dict.fromkeys(self.parts(raw), lane)
        return masks | dict(offsets=lane * self._reached_rows(raw['lines']))

    def _reached_rows(self, lines: Tensor) -> Tensor:
        """(B, A, S) bool, rows that are not above the upper end of the prior's lane."""
        last = self.head.num_rows - 1
        starts = (lines[..., :1] * last).round().clamp(0, last)
        lengths = (lines[..., 3:] * last).round()
        return torch.arange(last + 1, device=lines.device) <= starts + lengths - 1


@TASK_UTILS.register_module()
class LSTRHeadAdapter(LaneHeadAdapter):
    """LSTR: ends and coefficients of a curve for each query; four are shared by all queries."""

    head_types: ClassVar = ('LSTRHead',)
    slices: ClassVar = {'curves': {'ends': 2, 'shared': 4, 'own': 2}}
    confidence_parts: ClassVar = {'logits': -1}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        scores = background_last(raw['logits'])
        regs = self.sliced('curves', raw['curves'])
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=True)]

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each query counts by its confidence, in all parts."""
        return dict.fromkeys(self.parts(raw), _lane_probability(raw['logits']))


@TASK_UTILS.register_module()
class BezierHeadAdapter(LaneHeadAdapter):
    """BezierLaneNet: a score and four control points for each column."""

    head_types: ClassVar = ('BezierHead',)
    slices: ClassVar = {'curves': {'control_points': 2}}
    confidence_parts: ClassVar = {'logits': None}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        regs = dict(control_points=raw['curves'].flatten(2))
        return [HeadOutput(self.head_names[-1], raw['logits'][..., None], regs)]

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each column counts by its confidence, in all parts."""
        lane = raw['logits'].sigmoid()
        return dict(logits=lane, control_points=lane[..., None, None])

    def compared(self, parts: dict[str, Tensor], data: dict[str, Any]) -> dict[str, Tensor]:
        """Points along the curves, x and y in shares of the width of the image."""
        height, width = data['inputs'].shape[-2:]
        points = self.head.lane_points(parts['control_points'])
        return parts | dict(control_points=points * points.new_tensor([1, height / width]))


def _lane_probability(logits: Tensor) -> Tensor:
    """(B, N, 1) probability of class 1, the lane, from logits (B, N, K)."""
    return logits.softmax(-1)[..., 1:2]
