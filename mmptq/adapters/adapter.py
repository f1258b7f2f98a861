"""The interface that every detector family implements."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils import trees
from mmptq.utils.attributes import replaced_attribute
from mmptq.utils.detector_parts import BOX_HEADS, LANE_HEAD
from mmptq.utils.hooks import replaced_forwards
from mmptq.utils.stop_forward import output_of

from .head_output import HeadOutput
from .parts import find_head, matches_head
from .raw_parts import check_parts, group_by_head
from .response_limit import find_limit

# Stands in for features that nothing reads. Detectors that fuse cameras and LiDAR unpack it as
# (image features, point features) and skip the branch without features.
NO_FEATURES = (None, (None,))


class Adapter(ABC):
    """One family of detectors with one dense head: raw outputs, parts, pseudo labels, loss.

    A subclass for another head names it in ``head_types`` and is registered in ``TASK_UTILS``.
    A subclass for a detector that is built differently also overrides ``accepts`` and
    ``raw_outputs``.

    Args:
        model (nn.Module): The detector.
        head_name (str, optional): Name of the head's module. Defaults to the first of
            ``module_names`` that the model has.

    Attributes:
        head_types (tuple[str]): Class names of the heads of this family. A subclass of a head is
            accepted if it inherits ``forward`` and ``forward_single``.
        module_names (tuple[str]): Attributes of the model that may hold the head.
        output_names (tuple[str]): Names of the entries of the raw outputs, where these are a tuple
            or a list. The names of regressions are those in ``HeadOutput.regs``.
        head_names (list[str]): Names of the modules whose raw outputs are read.

    Raises:
        QuantizationError: If the model has no head.
    """

    head_types: ClassVar[tuple[str, ...]] = ()
    module_names: ClassVar[tuple[str, ...]] = BOX_HEADS
    output_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: nn.Module, head_name: str | None = None):
        head_name = head_name or find_head(model, self.module_names)
        if head_name is None:
            raise QuantizationError(
                f'{type(model).__name__} has no {" or ".join(self.module_names)}: pass head_name '
                f'to {type(self).__name__}'
            )
        self.model = model
        self.head_names = [head_name]

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether the model belongs to this family."""
        name = find_head(model, cls.module_names)
        return name is not None and matches_head(model.get_submodule(name), cls.head_types)

    @property
    def head(self) -> nn.Module:
        """The last of the heads."""
        return self.model.get_submodule(self.head_names[-1])

    def raw_outputs(self, data: dict[str, Any]) -> Any:
        """Run the detector up to the raw outputs of its head, without decoding or NMS.

        Args:
            data (dict): A batch from ``PTQContext.batches``.

        Returns:
            Any: What the head's own ``forward`` returns. Gradients flow if they are enabled.
        """
        return output_of(self.head, lambda: self.model(**data, mode='predict'))

    @abstractmethod
    def outputs(self, raw: Any) -> list[HeadOutput]:
        """The raw outputs as positions with scores and regressions, one entry per head."""

    def parts(self, raw: Any) -> dict[str, Tensor]:
        """Every tensor that the head returned, by a readable name.

        Args:
            raw (Any): Raw outputs.

        Returns:
            dict[str, Tensor]: For example ``cls.0`` and ``bbox.2`` (output and level),
            ``task1.heatmap``, ``control_points``. Nothing is copied.
        """
        tensors, _ = trees.flatten(raw)
        named = zip(self._part_names(raw), tensors, strict=True)
        return {name: tensor for name, tensor in named if name is not None}

    def with_parts(self, raw: Any, parts: dict[str, Tensor]) -> Any:
        """The raw outputs with some parts replaced; the inverse of ``parts``.

        Args:
            raw (Any): Raw outputs; they are not changed.
            parts (dict[str, Tensor]): New tensors by name; all other parts stay. Gradients flow
                into them.

        Raises:
            QuantizationError: For an unknown name, or a tensor of another shape.
        """
        check_parts(parts, self.parts(raw))
        tensors, structure = trees.flatten(raw)
        named = zip(self._part_names(raw), tensors, strict=True)
        return trees.unflatten(structure, [parts.get(name, tensor) for name, tensor in named])

    def head_groups(self, raw: Any) -> dict[str, list[str]]:
        """Which parts belong to one head: the same quantity, on all levels of a pyramid.

        Selective Focus calls each of them a head: classification, existence, offsets, control
        points. There is one group for the scores of each ``HeadOutput`` and one for each of its
        regressions.

        Args:
            raw (Any): Raw outputs.

        Returns:
            dict[str, list[str]]: Names of parts by name of the head.
        """
        return group_by_head(self.parts(raw))

    def part_name(self, path: tuple) -> str | None:
        """Name of the tensor that these indices and keys lead to in the raw outputs.

        Args:
            path (tuple): From ``trees.paths``.

        Returns:
            str or None: None for a tensor that is not an output of the head.
        """
        first, *rest = path or ('output',)
        if isinstance(first, int) and first < len(self.output_names):
            first = self.output_names[first]
        return '.'.join(map(str, (first, *rest)))

    def _part_names(self, raw: Any) -> list[str | None]:
        return [self.part_name(path) for path in trees.paths(raw)]

    @torch.no_grad()
    def decode(self, raw: Any, data: dict[str, Any]) -> list[BaseDataElement]:
        """Final predictions: the detector's own post-processing of raw outputs.

        Nothing before the head runs again, and no label is read.

        Args:
            raw (Any): Raw outputs; they are not changed.
            data (dict): The batch that ``raw`` was made from; gives the meta information.

        Returns:
            list: What ``mode='predict'`` returns: one data sample per sample of the batch with
            ``pred_instances`` (2D), ``pred_instances_3d`` (3D) or ``pred_lanes``, in pixels of the
            original image or in metres.
        """
        raw = trees.clone_tensors(raw)
        samples = [type(s)(metainfo=s.metainfo) for s in data['data_samples']]
        with ExitStack() as stack:
            stack.enter_context(replaced_forwards({self.head: lambda *_, **__: raw}))
            if hasattr(self.model, 'extract_feat'):
                skip = replaced_attribute(self.model, 'extract_feat', lambda *_, **__: NO_FEATURES)
                stack.enter_context(skip)
            return self.model(**dict(data, data_samples=samples), mode='predict')

    def response_limit(self, name: str) -> int | None:
        """How many responses of a head output its own post-processing looks at, at most.

        Args:
            name (str): ``HeadOutput.name``.

        Returns:
            int or None: From the head's test settings; None where they have no limit.
        """
        return find_limit(getattr(self.head, 'test_cfg', None))

    @abstractmethod
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """Detections in the form of ground truth, decoded as in deployment.

        Args:
            raw (Any): Raw outputs of the float model.
            data (dict): The batch that ``raw`` was made from.
            score_thr (float): Only detections with a higher score are kept.
            top_k (int): Maximum number of detections per sample, the best first.

        Returns:
            list: One data sample per sample of the batch with its meta information and the boxes,
            labels and scores in ``gt_instances`` (2D) or ``gt_instances_3d`` (3D).
        """

    @abstractmethod
    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """The head's own target assignment and losses, each a scalar.

        Args:
            raw (Any): Raw outputs of the quantized model; they are not changed.
            data (dict): The batch that ``raw`` was made from.
            pseudo_labels (list): From ``pseudo_labels`` of the float model.
        """


def build_adapter(model: nn.Module) -> Adapter:
    """The adapter of the detector's family.

    Raises:
        QuantizationError: If no registered adapter accepts the model.
    """
    classes = {id(cls): cls for cls in TASK_UTILS.module_dict.values()}.values()
    for cls in classes:
        if isinstance(cls, type) and issubclass(cls, Adapter) and cls.accepts(model):
            return cls(model)
    heads = {name: type(m).__name__ for name, m in model.named_children() if name.endswith('head')}
    if not heads:
        raise QuantizationError(
            f'no adapter for {type(model).__name__}: it has no {", ".join(BOX_HEADS)} or '
            f'{LANE_HEAD}; register a subclass of mmptq.adapters.Adapter in TASK_UTILS that '
            'overrides accepts, and list its file in custom_imports'
        )
    raise QuantizationError(
        f'no adapter for {type(model).__name__} with {", ".join(heads.values())}: register a '
        'subclass of mmptq.adapters.Adapter in TASK_UTILS that names the head in head_types, and '
        'list its file in custom_imports'
    )
