"""Lets the SSD head of mmdet 3.3.0 predict."""

from collections.abc import Callable
from typing import Any


class _OwnLoss:
    """The ``loss_cls`` that a head has itself, or None; as SSD, which has none, needs it."""

    def __get__(self, head: Any, owner: type | None = None) -> Any:
        return None if head is None else vars(head)['_modules'].get('loss_cls')


def give_ssd_a_loss() -> Callable[[], None] | None:
    """Give ``SSDHead`` the attribute that the prediction of all dense heads of mmdet reads.

    ``BaseDenseHead.predict_by_feat`` asks ``self.loss_cls`` whether it has an activation of its
    own; SSD computes its loss by a function and has no such attribute. A subclass that sets one
    keeps it.

    Returns:
        Callable | None: Undoes it; None where the head has the attribute.
    """
    from mmdet.models.dense_heads import SSDHead

    if hasattr(SSDHead, 'loss_cls'):
        return None
    SSDHead.loss_cls = _OwnLoss()

    def put_back() -> None:
        del SSDHead.loss_cls

    return put_back
