"""Lane heads that segment: SCNN, RESA, ENet and ENet-SAD."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor

from .head_output import HeadOutput, flatten_level
from .lane_head import LaneHeadAdapter, background_last


@TASK_UTILS.register_module()
class LaneSegHeadAdapter(LaneHeadAdapter):
    """A class for each pixel and a flag for each lane position: two heads without regressions."""

    head_types: ClassVar = ('LaneSegHead',)

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        pixels = flatten_level(raw['seg'], raw['seg'].shape[1])
        name = self.head_names[-1]
        return [
            HeadOutput(f'{name}.seg', background_last(pixels), softmax=True),
            HeadOutput(f'{name}.exist', raw['exist'][..., None]),
        ]

    @contextmanager
    def at_least(self, score_thr: float) -> Iterator[None]:
        """Within it, the head gives only lanes that exist with a higher probability, too."""
        own = self.head.decoding
        self.head.decoding = replace(own, exist_thr=max(own.exist_thr, score_thr))
        try:
            yield
        finally:
            self.head.decoding = own
