"""mmdet3d's nuScenes metric for cameras, where there is no GPU."""

import functools
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from mmengine.evaluator import Evaluator

from .patches import replace_attribute

METRIC = 'mmdet3d.evaluation.metrics.nuscenes_metric'


def merge_cameras_on_cpu() -> Callable[[], None] | None:
    """Let the metric merge the detections of the six cameras on a CPU.

    The module of the metric takes long to import, so it is changed when an evaluator is built.

    Returns:
        Callable | None: Undoes it; None where CUDA works.
    """
    if torch.cuda.is_available():
        return None
    build = Evaluator.__init__
    undo: list[Callable[[], None]] = []

    @functools.wraps(build)
    def building(self: Evaluator, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        metric = sys.modules.get(METRIC)
        if metric is not None and not undo:
            convert = metric.nusc_box_to_cam_box3d
            undo.append(replace_attribute(metric, convert.__name__, _without_cuda(convert)))

    undo_build = replace_attribute(Evaluator, '__init__', building)

    def put_back() -> None:
        undo_build()
        while undo:
            undo.pop()()

    return put_back


def _without_cuda(function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with mock.patch.object(torch.Tensor, 'cuda', _stay):
            return function(*args, **kwargs)

    return wrapped


def _stay(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return tensor
