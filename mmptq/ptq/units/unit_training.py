"""The loop that learns rounding and scales of one unit."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .unit_data import join
from .unit_objective import UnitObjective
from .unit_quantizers import UnitQuantizers
from .weight_rounding import WeightRounding

Entries = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class TrainingSettings:
    """How a unit is learned.

    Attributes:
        rounding (WeightRounding, optional): How rounding is learned; None leaves it.
        act_lr (float, optional): Learning rate (Adam) of the logarithms of the scales of layer
            inputs, falling to zero along a cosine; None leaves the scales.
        drop_prob (float): Share of values, drawn in every step, that are taken from the float
            model (unit inputs) or not quantized (layer inputs).
        num_iters (int): Steps.
        batch_size (int): Samples per step.
    """

    rounding: WeightRounding | None
    act_lr: float | None
    drop_prob: float
    num_iters: int
    batch_size: int


class NotFiniteError(Exception):
    """A loss became NaN or infinite."""


def train_unit(
    quantizers: UnitQuantizers,
    entries: Entries,
    objective: UnitObjective,
    settings: TrainingSettings,
    unit_loss: float,
) -> None:
    """Learn and commit.

    Args:
        quantizers (UnitQuantizers): Of the unit.
        entries (Entries): One per sample.
        objective (UnitObjective): The loss.
        settings (TrainingSettings): How it is learned.
        unit_loss (float): The loss is given in units of this.

    Raises:
        NotFiniteError: If a loss becomes NaN or infinite; nothing is committed then.
    """
    rounding = settings.rounding
    quantizers.learn(rounding, settings.act_lr is not None, settings.drop_prob)
    learned = [p for module in quantizers.roundings for p in module.parameters()]
    groups = [
        dict(params=learned, lr=rounding.lr if rounding else 0.0),
        dict(params=quantizers.scale_deltas, lr=settings.act_lr or 0.0),
    ]
    groups = [group for group in groups if group['params']]
    if groups:
        step = _Step(quantizers, entries, objective, settings, unit_loss, torch.optim.Adam(groups))
        with objective.task.learning() if objective.task else nullcontext():
            for index in range(settings.num_iters):
                step.take(index)
    quantizers.commit()


@dataclass
class _Step:
    """One step of learning; the fields are the arguments of ``train_unit`` and the optimizer."""

    quantizers: UnitQuantizers
    entries: Entries
    objective: UnitObjective
    settings: TrainingSettings
    unit_loss: float
    optimizer: torch.optim.Optimizer

    def take(self, index: int) -> None:
        """Learn from some samples in step ``index``."""
        roundings, settings = self.quantizers.roundings, self.settings
        progress = index / settings.num_iters
        if roundings:
            settings.rounding.before_step(roundings)
        self.optimizer.zero_grad()
        losses = self._backward()
        if roundings:
            settings.rounding.after_backward(roundings, progress)
        if self.quantizers.scale_deltas:
            cosine = 0.5 * (1 + math.cos(math.pi * progress))
            self.optimizer.param_groups[-1]['lr'] = cosine * settings.act_lr
        self.optimizer.step()
        if self.objective.task:
            self.objective.task.after_step(index, losses)

    def _backward(self) -> list[dict[str, Tensor]]:
        """Add gradients of some samples; returns their losses on head outputs."""
        chosen = torch.randperm(len(self.entries), device='cpu')[
            : self.settings.batch_size
        ].tolist()
        entries = [self.entries[index] for index in chosen]
        if self.objective.task is None:
            entries = join(entries)
        parts = []
        for entry in entries:
            loss, heads = self.objective.losses(entry, self.settings.drop_prob)
            parts.append(heads)
            if not torch.isfinite(loss):
                raise NotFiniteError
            if loss.requires_grad:
                (loss / (len(entries) * abs(self.unit_loss))).backward()
        return parts


@torch.no_grad()
def mean_loss(entries: Entries, objective: UnitObjective) -> float:
    """Loss over all entries, everything quantized; NaN where it is not finite."""
    losses = [objective.losses(entries[index], 0.0)[0] for index in range(len(entries))]
    return torch.stack(losses).mean().item()
