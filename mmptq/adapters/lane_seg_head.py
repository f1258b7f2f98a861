"""Lane heads that segment the image: SCNN, RESA, ENet and ENet-SAD."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.utils.attributes import replaced_attribute

from .head_output import HeadOutput, flatten_level
from .lane_head import LaneHeadAdapter, background_last


@TASK_UTILS.register_module()
class LaneSegHeadAdapter(LaneHeadAdapter):
    """Two heads without regressions: a class per pixel and a flag per lane position."""

    head_types: ClassVar = ('LaneSegHead',)
    confidence_parts: ClassVar = {'seg': 1, 'exist': None}

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        pixels = flatten_level(raw['seg'], raw['seg'].shape[1])
        name = self.head_names[-1]
        return [
            HeadOutput(f'{name}.seg', background_last(pixels), softmax=True),
            HeadOutput(f'{name}.exist', raw['exist'][..., None]),
        ]

    @torch.no_grad()
    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each pixel counts by the probability of any lane, each flag fully."""
        lane = 1 - raw['seg'].softmax(1)[:, :1]
        return dict(seg=lane, exist=torch.ones_like(raw['exist']))

    @contextmanager
    def at_least(self, score_thr: float) -> Iterator[None]:
        """Within this context the existence threshold of the head is at least ``score_thr``."""
        own = self.head.decoding
        stricter = replace(own, exist_thr=max(own.exist_thr, score_thr))
        with replaced_attribute(self.head, 'decoding', stricter):
            yield
