"""What the heads of lane detectors have in common."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from .adapter import Adapter, copy_tree, known_head, no_grad_copy
from .head_output import HeadOutput

HEAD_NAME = 'lane_head'


class LaneHeadAdapter(Adapter):
    """A detector with a ``lane_head`` whose raw outputs are tensors by name.

    The head turns them into lanes by ``decode`` and into losses by ``loss_by_output``. Its own
    thresholds are part of what was trained, so pseudo labels obey them, too.

    Args:
        model (nn.Module): The detector.
    """

    def __init__(self, model: nn.Module):
        super().__init__(model, HEAD_NAME)

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        return known_head(getattr(model, HEAD_NAME, None), cls.head_types)

    @abstractmethod
    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        """The raw outputs as positions with scores and regressions, one entry per head."""

    @torch.no_grad()
    def pseudo_labels(
        self, raw: dict[str, Tensor], data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """Lanes as if they were ground truth, in pixels of the input.

        Args:
            raw (dict): Of the float model.
            data (dict): The batch that ``raw`` was made from.
            score_thr (float): Lanes must score higher than this and than the head's threshold.
            top_k (int): Most lanes per image, in the order in which the head gives them.

        Returns:
            list: One data sample per image with its meta info, ``gt_lanes`` and unknown slots (-1)
            in ``gt_lane_slots``.
        """
        samples = data['data_samples']
        with self.at_least(score_thr):
            lanes = self.head.decode(no_grad_copy(raw), samples)
        return [
            as_ground_truth_lanes(sample, of_image[:top_k])
            for sample, of_image in zip(samples, lanes, strict=True)
        ]

    def loss(
        self, raw: dict[str, Tensor], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        return self.head.loss_by_output(copy_tree(raw), pseudo_labels)

    @contextmanager
    def at_least(self, score_thr: float) -> Iterator[None]:
        """Within it, the head gives only lanes that score higher than ``score_thr``, too."""
        own = self.head.score_thr
        self.head.score_thr = max(own, score_thr)
        try:
            yield
        finally:
            self.head.score_thr = own


def as_ground_truth_lanes(sample: BaseDataElement, lanes: list[Tensor]) -> BaseDataElement:
    """A data sample whose ground truth is some lanes.

    Args:
        sample (BaseDataElement): Gives the meta info.
        lanes (list[Tensor]): (N, 2) pixels of the input each.
    """
    label = type(sample)(metainfo=sample.metainfo)
    # As the data sets give them: on the CPU, single precision, and no lane of one point.
    label.gt_lanes = [lane.detach().float().cpu() for lane in lanes if len(lane) > 1]
    label.gt_lane_slots = torch.full((len(label.gt_lanes),), -1)
    return label


def background_last(logits: Tensor) -> Tensor:
    """Logits (..., K + 1) whose first column is the background, with that column last."""
    return logits.roll(-1, dims=-1)
