"""What adapters share to call the loss of a head."""

from collections.abc import Iterable
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmptq.quantization import QuantizationError


def sum_losses(losses: dict[str, Any]) -> dict[str, Tensor]:
    """The losses of a head with those of several levels added up, each a scalar."""
    return {
        name: sum(map(_scalar, loss)) if isinstance(loss, (list, tuple)) else _scalar(loss)
        for name, loss in losses.items()
        if isinstance(loss, (Tensor, list, tuple))
    }


def _scalar(loss: Any) -> Any:
    """The mean of a tensor, as mmengine takes it of losses."""
    return loss.mean() if isinstance(loss, Tensor) and loss.dim() else loss


def loss_on_labels(
    head: nn.Module, raw: Iterable[Any], pseudo_labels: list[BaseDataElement]
) -> dict[str, Tensor]:
    """The loss of a head of mmdet on pseudo labels.

    Args:
        head (nn.Module): With ``loss_by_feat``.
        raw (Iterable): Its raw outputs, which may be changed.
        pseudo_labels (list): Data samples with ``gt_instances``.
    """
    instances = [sample.gt_instances for sample in pseudo_labels]
    return sum_losses(head.loss_by_feat(*raw, instances, get_metainfo(pseudo_labels)))


def get_metainfo(samples: list[BaseDataElement]) -> list[dict[str, Any]]:
    """Meta information of data samples."""
    return [sample.metainfo for sample in samples]


def require_train_cfg(head: nn.Module, name: str) -> None:
    """Refuse a head without the settings of its target assignment.

    Raises:
        QuantizationError: If the head was built without ``train_cfg``.
    """
    if not getattr(head, 'train_cfg', None):
        raise QuantizationError(
            f"'{name}' has no train_cfg, so a loss on pseudo labels cannot assign targets: keep "
            'model.train_cfg of the float config'
        )
