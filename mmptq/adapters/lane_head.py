"""The heads of lane detectors."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils import trees
from mmptq.utils.attributes import replaced_attribute
from mmptq.utils.detector_parts import LANE_HEAD
from mmptq.utils.hooks import temporary_hooks

from .adapter import Adapter
from .head_output import HeadOutput
from .raw_parts import check_parts


class LaneHeadAdapter(Adapter):
    """A detector with a ``lane_head`` whose raw outputs are tensors by name.

    The head turns them into lanes with ``decode`` and into losses with ``loss_by_output``. The
    head's own thresholds belong to the trained model, so they also apply to pseudo labels.

    Attributes:
        slices (dict[str, dict[str, int]]): Raw outputs that hold several quantities side by side
            along the last axis: the size of each by its name, None for the rest. Each of them is
            a part of its own.
        confidence_parts (dict[str, int | None]): The parts that hold logits of confidences, with
            the axis of their softmax, or None for sigmoids.
        watched (tuple[str]): Modules whose outputs ``raw_outputs`` keeps in ``features``; empty
            unless a loss asks for them.
        features (dict[str, Any]): Outputs of the watched modules in the last ``raw_outputs``.
    """

    module_names: ClassVar = (LANE_HEAD,)
    slices: ClassVar[dict[str, dict[str, int | None]]] = {}
    confidence_parts: ClassVar[dict[str, int | None]] = {}

    def __init__(self, model: nn.Module, head_name: str | None = None):
        super().__init__(model, head_name)
        self.watched: tuple[str, ...] = ()
        self.features: dict[str, Any] = {}

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Tensor]:
        modules = {self.model.get_submodule(name): name for name in self.watched}

        def keep(module: nn.Module, args: tuple, output: Any) -> None:
            self.features[modules[module]] = trees.map_tensors(Tensor.clone, output)

        self.features = {}
        with temporary_hooks(after=dict.fromkeys(modules, keep)) if modules else nullcontext():
            return super().raw_outputs(data)

    @abstractmethod
    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        """The raw outputs as positions with scores and regressions, one entry per head."""

    def sliced(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        """The quantities of one raw output by name; the tensor itself if it holds only one."""
        sizes = self.slices.get(name, {name: None})
        rest = tensor.shape[-1] - sum(size or 0 for size in sizes.values())
        pieces = tensor.split([rest if size is None else size for size in sizes.values()], dim=-1)
        return dict(zip(sizes, pieces, strict=True))

    def parts(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            part: piece
            for name, tensor in raw.items()
            for part, piece in self.sliced(name, tensor).items()
        }

    def with_parts(self, raw: dict[str, Tensor], parts: dict[str, Tensor]) -> dict[str, Tensor]:
        known = self.parts(raw)
        check_parts(parts, known)
        parts = {**known, **parts}
        return {
            name: torch.cat([parts[part] for part in self.slices.get(name, (name,))], dim=-1)
            for name in raw
        }

    def focus(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """How far the places of each part are foreground, by the model's own confidence.

        These are the rules of a family that ``SemanticFocusLoss`` needs: each part gets the
        confidence of what it describes (a query, an anchor, a pixel, a cell), and zero where the
        decoder does not read it. No label is read.

        Args:
            raw (dict): Raw outputs of the float or of the quantized model.

        Returns:
            dict[str, Tensor]: One per part, from 0 to 1, of a shape that broadcasts to the part
            and has as many axes; no gradients.

        Raises:
            QuantizationError: If the family has no such rules.
        """
        name = type(self).__name__
        raise QuantizationError(
            f'{name} has no rules of Selective Focus for {type(self.head).__name__}: override '
            f'focus and confidence_parts of {name}, see docs/development/add_adapter.md'
        )

    def compared(self, parts: dict[str, Tensor], data: dict[str, Any]) -> dict[str, Tensor]:
        """Parts in the form in which their errors count, which is theirs unless it says too little.

        Coefficients of a curve are an example: errors of several cancel out on the lane, or add up.

        Args:
            parts (dict): From ``parts``.
            data (dict): The batch.

        Returns:
            dict[str, Tensor]: The same names; the masks of ``focus`` broadcast to them.
        """
        return parts

    def response_limit(self, name: str) -> int | None:
        return getattr(self.head, 'max_lanes', None)

    @torch.no_grad()
    def pseudo_labels(
        self, raw: dict[str, Tensor], data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """Lanes in the form of ground truth, in pixels of the input.

        Args:
            raw (dict): Raw outputs of the float model.
            data (dict): The batch that ``raw`` was made from.
            score_thr (float): Only lanes that score higher than this and than the head's own
                threshold are kept.
            top_k (int): Maximum number of lanes per image, in the order of the head.

        Returns:
            list: One data sample per image with its meta information, ``gt_lanes`` and
            ``gt_lane_slots``, which are -1 (unknown).
        """
        samples = data['data_samples']
        with self.at_least(score_thr):
            lanes = self.head.decode(trees.copy_tensors(raw), samples)
        return [
            as_ground_truth_lanes(sample, of_image[:top_k])
            for sample, of_image in zip(samples, lanes, strict=True)
        ]

    def loss(
        self, raw: dict[str, Tensor], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        return self.head.loss_by_output(trees.clone_tensors(raw), pseudo_labels)

    @contextmanager
    def at_least(self, score_thr: float) -> Iterator[None]:
        """Within this context the score threshold of the head is at least ``score_thr``."""
        with replaced_attribute(self.head, 'score_thr', max(self.head.score_thr, score_thr)):
            yield


def as_ground_truth_lanes(sample: BaseDataElement, lanes: list[Tensor]) -> BaseDataElement:
    """A data sample with these lanes as ground truth.

    Args:
        sample (BaseDataElement): Its meta information is kept.
        lanes (list[Tensor]): (N, 2) each, in pixels of the input.
    """
    label = type(sample)(metainfo=sample.metainfo)
    # In the form of the data sets: on the CPU, float32, at least two points per lane.
    label.gt_lanes = [lane.detach().float().cpu() for lane in lanes if len(lane) > 1]
    label.gt_lane_slots = torch.full((len(label.gt_lanes),), -1, device='cpu')
    return label


def background_last(logits: Tensor) -> Tensor:
    """Logits (..., K + 1) with the background column moved from first to last."""
    return logits.roll(-1, dims=-1)
