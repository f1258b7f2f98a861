"""The head of TOOD."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from mmengine.logging import MessageHub
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor

from .dense_head import DenseHeadAdapter

# Probabilities of float32 that have a finite logit.
SMALLEST = 1e-6


@TASK_UTILS.register_module()
class TOODHeadAdapter(DenseHeadAdapter):
    """TOOD: scores that are probabilities already, and corners of boxes in strides.

    Note:
        The loss is that of the later epochs of training (task-aligned assignment), whatever epoch
        the runner is in; the first ones use another assigner.
    """

    head_types: ClassVar = ('TOODHead',)

    def class_logits(self, scores: Tensor) -> Tensor:
        return scores.logit(eps=SMALLEST)

    def decode_boxes(self, bbox: Tensor, priors: Tensor, level: int) -> Tensor:
        return bbox * self.head.prior_generator.strides[level][0]

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        # Without train_cfg the head has no first epochs, and the loss says what is missing.
        with _epoch(getattr(self.head, 'initial_epoch', 0)):
            return super().loss(raw, data, pseudo_labels)


@contextmanager
def _epoch(number: int) -> Iterator[None]:
    """Within this context the head reads this epoch, where its runner would leave its own."""
    hub = MessageHub.get_current_instance()
    before = hub.get_info('epoch')
    hub.update_info('epoch', number)
    try:
        yield
    finally:
        hub.pop_info('epoch')
        if before is not None:
            hub.update_info('epoch', before)
