"""Errors of a lane detector's heads, weighted by where the float model sees lanes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmptq.adapters import Adapter, LaneHeadAdapter
from mmptq.quantization import QuantizationError
from mmptq.utils.trees import flatten

from .sensitivity_aware_selection import SensitivityAwareSelection
from .task_loss import TaskLoss

# Modules whose outputs count with ``features``; the name of the error.
WATCHED, FEATURES = ('backbone', 'neck'), 'features'
# Keep the mean over an empty mask and a head without any error finite.
EPSILON, SMALLEST = 1e-6, 1e-12


@dataclass
class FocusTarget:
    """What the float model gave on a batch.

    Attributes:
        parts (dict[str, Tensor]): Outputs of the heads, see ``LaneHeadAdapter.compared``.
        masks (dict[str, Tensor]): Foreground of each, see ``LaneHeadAdapter.focus``.
        features (list[Tensor]): Outputs of the watched modules.
    """

    parts: dict[str, Tensor]
    masks: dict[str, Tensor]
    features: list[Tensor]


@MODELS.register_module()
class SemanticFocusLoss(TaskLoss):
    """Semantic guided focus and sensitivity aware selection of Selective Focus.

    Each head is compared with the float model where the float model is confident::

        L_k  = sum_s m_k(s) |O_k(s) - O_k^q(s)|^2 / (C_k sum_s m_k(s))
        loss = sum_k w_k L_k / L_k(0)

    with positions s, the mask m_k from ``LaneHeadAdapter.focus``, C_k channels, and the error
    L_k(0) before anything is learned. The weights w_k come from
    :class:`SensitivityAwareSelection` and are 1 / K without it. Confidences are compared as logits;
    what a softmax ignores, a constant of all classes, is no error. There the mask is the larger of
    the float and the quantized confidence, and at least ``floor``, so that the background cannot
    rise unseen.

    https://arxiv.org/abs/2405.06264. Images without float lanes have nothing to focus on and are
    left out, with a count in the log.

    Note:
        The text of the paper was not available to us. That errors are weighted by the model's own
        confidence, and heads by how far they move lanes, is known from its abstract; the
        formulas, the floor, the maximum with the quantized confidence, the division by L_k(0) and
        all defaults are our reading. Where the whole network is learned, confidence of the float
        model needs no labels, which is the point of the paper.

    Args:
        focus (bool): Whether masks are used; if not, all positions count the same. Defaults to
            True.
        selection (bool or dict): Whether heads are selected; a dict gives arguments of
            :class:`SensitivityAwareSelection`. Defaults to True.
        floor (float): Least weight of positions of confidences. Defaults to 0.05.
        features (float): Weight of the errors of backbone and neck, next to a weight of 1 for all
            heads; not of the paper. Only where the whole network is learned. Defaults to 0.

    Example:
        >>> task_loss = dict(type='SemanticFocusLoss', selection=dict(interval=50))
    """

    missing_hint: ClassVar[str] = (
        'the float model finds no lane there, so check the checkpoint, the crop and size of the '
        'images in the test pipeline, and the calibration images'
    )

    def __init__(
        self,
        focus: bool = True,
        selection: bool | dict[str, Any] = True,
        floor: float = 0.05,
        features: float = 0.0,
    ):
        super().__init__()
        if not 0 <= floor <= 1 or features < 0:
            raise QuantizationError(
                f'SemanticFocusLoss got floor={floor!r}, features={features!r}: use '
                '0 <= floor <= 1 and features >= 0'
            )
        self.focus = focus
        self.floor = floor
        self.features = features
        self.whole_network = features > 0
        options = selection if isinstance(selection, dict) else {}
        self.selection = SensitivityAwareSelection(**options) if selection is not False else None
        self.heads: list[str] = []
        self.register_buffer('start', torch.zeros(0))

    def check(self, adapter: Adapter) -> None:
        """Refuse a detector without lane head, confidences or rules of its family."""
        head = type(adapter.head).__name__
        if not isinstance(adapter, LaneHeadAdapter):
            raise QuantizationError(
                f'SemanticFocusLoss is for lane detectors, and {type(adapter.model).__name__} has '
                f"a {head}: use a lane model, or dict(type='DetectionOutputLoss')"
            )
        name = type(adapter).__name__
        if type(adapter).focus is LaneHeadAdapter.focus:
            adapter.focus({})
        if not adapter.confidence_parts:
            raise QuantizationError(
                f'SemanticFocusLoss needs a head with a confidence output, and {name} names none '
                f"of {head}: set confidence_parts, like {{'logits': None}}, in {name}"
            )
        if self.features:
            parts = {name for name, part in adapter.model.named_children() if part is not None}
            adapter.watched = tuple(name for name in WATCHED if name in parts)

    @torch.no_grad()
    def make_target(self, adapter: Adapter, raw: Any, data: dict[str, Any]) -> FocusTarget | None:
        """Outputs and foreground of the float model; None where it finds no lane."""
        if not any(len(sample.pred_lanes) for sample in adapter.decode(raw, data)):
            return None
        parts = adapter.compared(adapter.parts(raw), data)
        parts = {name: part.detach() for name, part in parts.items()}
        features = [x.detach() for x in flatten(adapter.features)[0]] if self.features else []
        return FocusTarget(parts, adapter.focus(raw), features)

    @torch.no_grad()
    def prepare(self, teacher: Any) -> None:
        """Errors before learning, on all samples, and the sensitivity of each head on some."""
        own, self.heads, self.start = [], [], torch.zeros(0, device='cpu')
        for index in teacher.found:
            raw = teacher.raw_outputs(index)
            data, target = teacher.data(index), teacher.target(index)
            losses = self._errors(teacher.adapter, raw, data, target)
            own.append(torch.stack(list(losses.values())).cpu())
        self.start = teacher.mean_over_samples(own)
        self.heads = list(teacher.common(list(losses) if own else []))
        if self.features and self.heads:
            self.heads.remove(FEATURES)
        if self.selection is not None and self.heads:
            self.selection.prepare(teacher, self.heads)

    def forward(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: FocusTarget
    ) -> dict[str, Tensor]:
        """Relative errors by head; gradients have the weights of the selection in training.

        Values stay those without weights, so that the selection sees what all heads lose.
        """
        errors = self._errors(adapter, raw, data, target)
        share = 1 / (len(errors) - (FEATURES in errors))
        start = self.start.tolist() or [1.0] * len(errors)
        parts = {
            name: error * (self.features if name == FEATURES else share) / max(first, SMALLEST)
            for (name, error), first in zip(errors.items(), start, strict=True)
        }
        if self.training and self.selection is not None:
            for name, weight in zip(self.heads, self.selection.weights.tolist(), strict=True):
                fixed = parts[name].detach()
                parts[name] = fixed + (weight / share) * (parts[name] - fixed)
        return parts

    def after_step(self, step: int, losses: dict[str, Tensor]) -> None:
        """Let the selection follow the errors."""
        if self.selection is not None and losses:
            relative = torch.stack([losses[name] for name in self.heads]) * len(self.heads)
            self.selection.update(step, relative.cpu())

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Errors before learning, sensitivities and the history of weights, for ``run.json``."""
        rows = [
            dict(head=name, error_before=error)
            for name, error in zip(self.heads, self.start.tolist(), strict=False)
        ]
        if self.selection is None:
            return dict(head_errors=rows)
        return dict(head_errors=rows, **self.selection.records(self.heads))

    def _errors(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: FocusTarget
    ) -> dict[str, Tensor]:
        """L_k by head."""
        parts, own = adapter.compared(adapter.parts(raw), data), None
        if self.focus:
            with torch.no_grad():
                own = adapter.focus(raw)
        errors = {}
        for head, names in adapter.head_groups(raw).items():
            total = weight = 0
            for name in names:
                error = parts[name] - target.parts[name]
                axis = adapter.confidence_parts.get(name)
                if axis is not None:
                    error = error - error.mean(axis, keepdim=True)
                mask = torch.ones_like(error)
                if self.focus:
                    mask = self._mask(adapter, name, target, own).expand_as(error)
                total = total + (mask * error.square()).sum()
                weight = weight + mask.sum()
            errors[head] = total / (weight + EPSILON)
        if self.features:
            pairs = list(zip(flatten(adapter.features)[0], target.features, strict=True))
            relative = [
                (x - y).square().sum() / y.square().sum().clamp(min=SMALLEST) for x, y in pairs
            ]
            errors[FEATURES] = torch.stack(relative).mean()
        return errors

    def _mask(
        self, adapter: Adapter, name: str, target: FocusTarget, own: dict[str, Tensor]
    ) -> Tensor:
        mask = target.masks[name]
        if name in adapter.confidence_parts:
            mask = torch.maximum(mask, own[name]).clamp(min=self.floor)
        return mask.to(target.parts[name])
