"""What a detector family looks like from outside."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.stop_forward import output_of

from .head_output import HeadOutput

# Where the detectors of mmdet and mmdet3d keep the head that gives the boxes.
HEAD_ATTRIBUTES = ('bbox_head', 'pts_bbox_head')


class Adapter(ABC):
    """One family of detectors with one dense head: raw outputs, pseudo labels, the head's loss.

    A subclass for another head names it in ``head_types`` and is registered in ``TASK_UTILS``.
    One for a detector of another build overrides ``accepts`` and ``raw_outputs``, too.

    Args:
        model (nn.Module): The detector.
        head_name (str, optional): Name of the head's module. By default it is looked for.

    Attributes:
        head_types (tuple[str]): Class names of the heads of this family. A subclass of one is
            accepted where it inherits ``forward`` and ``forward_single``.
        head_names (list[str]): Names of the modules whose raw outputs are read.
    """

    head_types: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: nn.Module, head_name: str | None = None):
        self.model = model
        self.head_names = [head_name or find_head(model)]

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether the family is the model's."""
        name = find_head(model)
        return name is not None and known_head(model.get_submodule(name), cls.head_types)

    @property
    def head(self) -> nn.Module:
        """The last one of the heads."""
        return self.model.get_submodule(self.head_names[-1])

    def raw_outputs(self, data: dict[str, Any]) -> Any:
        """Run the detector as far as the raw outputs of its head: no decoding, no NMS.

        Args:
            data (dict): A batch as ``PTQContext.batches`` yields it.

        Returns:
            Any: What the head's own ``forward`` returns. Gradients flow where they are enabled.
        """
        return output_of(self.head, lambda: self.model(**data, mode='predict'))

    @abstractmethod
    def outputs(self, raw: Any) -> list[HeadOutput]:
        """The raw outputs as positions with scores and regressions, one entry per head."""

    @abstractmethod
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """Detections as if they were ground truth, decoded as in deployment.

        Args:
            raw (Any): Of the float model.
            data (dict): The batch that ``raw`` was made from.
            score_thr (float): Detections must score higher.
            top_k (int): Most detections per sample, the best first.

        Returns:
            list: One data sample per sample of the batch with its meta info and the boxes,
            labels and scores in ``gt_instances`` (2D) or ``gt_instances_3d`` (3D).
        """

    @abstractmethod
    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """The head's own target assignment and losses, each a scalar.

        Args:
            raw (Any): Of the model that is judged; it is not changed.
            data (dict): The batch that ``raw`` was made from.
            pseudo_labels (list): What ``pseudo_labels`` returned for the float model.
        """


def find_head(model: nn.Module) -> str | None:
    """Name of the module that is the dense head of a detector, or None."""
    return next((name for name in HEAD_ATTRIBUTES if getattr(model, name, None) is not None), None)


def known_head(head: nn.Module | None, known: tuple[str, ...]) -> bool:
    """Whether a head is of one of the ``known`` classes, or of one that computes the same."""
    base = next((base for base in type(head).__mro__ if base.__name__ in known), None)
    return base is not None and all(
        getattr(type(head), name, None) is getattr(base, name, None)
        for name in ('forward', 'forward_single')
    )


def build_adapter(model: nn.Module) -> Adapter:
    """The adapter of the detector's family.

    Raises:
        QuantizationError: If no registered adapter accepts the model.
    """
    classes = {id(cls): cls for cls in TASK_UTILS.module_dict.values()}.values()
    for cls in classes:
        if isinstance(cls, type) and issubclass(cls, Adapter) and cls.accepts(model):
            return cls(model)
    heads = [type(m).__name__ for name, m in model.named_children() if name.endswith('head')]
    raise QuantizationError(
        f'there is no adapter for {type(model).__name__} with {", ".join(heads) or "no head"}: '
        'register a subclass of mmptq.adapters.Adapter in TASK_UTILS that names the head in '
        'head_types, and import its file in custom_imports'
    )


def copy_tree(data: Any) -> Any:
    """Clones of all tensors in nested lists, tuples and dicts; gradients pass through."""
    if isinstance(data, Tensor):
        return data.clone()
    if isinstance(data, dict):
        return {key: copy_tree(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(copy_tree, data))
    return data


def sum_losses(losses: dict[str, Any]) -> dict[str, Tensor]:
    """Losses of all levels of a head added up: lists of tensors become scalars."""
    return {
        name: sum(loss) if isinstance(loss, (list, tuple)) else loss
        for name, loss in losses.items()
        if isinstance(loss, (Tensor, list, tuple))
    }


def metas_of(samples: list[BaseDataElement]) -> list[dict[str, Any]]:
    """Meta information of data samples."""
    return [sample.metainfo for sample in samples]


def need_train_cfg(head: nn.Module, name: str) -> None:
    """Refuse a head that was built without what its target assignment needs."""
    if not getattr(head, 'train_cfg', None):
        raise QuantizationError(
            f"'{name}' has no train_cfg and so no target assignment, which a loss on pseudo "
            'labels needs: keep model.train_cfg of the float config'
        )


def no_grad_copy(raw: Any) -> Any:
    """A copy of raw outputs outside of any graph, for decoding that works in place."""
    with torch.no_grad():
        return copy_tree(raw)
