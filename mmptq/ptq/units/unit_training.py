"""The loop that learns rounding and scales of one unit."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from mmptq.ptq import parallel
from mmptq.ptq.recording.unit_data import join
from mmptq.utils.messages import first_line

from .training_progress import TrainingProgress
from .unit_objective import UnitObjective
from .unit_quantizers import UnitQuantizers
from .weight_rounding import WeightRounding

Entries = Sequence[dict[str, Any]]
NO_GRADIENTS = 'no gradients go through it'


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
        batch_size (int): Samples per step, of all processes together.
    """

    rounding: WeightRounding | None
    act_lr: float | None
    drop_prob: float
    num_iters: int
    batch_size: int


class LearningError(Exception):
    """A unit cannot be learned: its loss became NaN or infinite, or has no gradients.

    Args:
        reason (str, optional): Why, where it is not the value of the loss. Defaults to None.
    """

    def __init__(self, reason: str | None = None):
        super().__init__(reason or 'the loss is not finite')
        self.reason = reason


def train_unit(
    quantizers: UnitQuantizers,
    entries: Entries,
    objective: UnitObjective,
    settings: TrainingSettings,
    unit_loss: float,
    progress: TrainingProgress | None = None,
) -> None:
    """Learn and commit.

    Args:
        quantizers (UnitQuantizers): Of the unit.
        entries (Entries): One per sample of this process.
        objective (UnitObjective): The loss.
        settings (TrainingSettings): How it is learned.
        unit_loss (float): The loss is given in units of this.
        progress (TrainingProgress, optional): Where the state of learning is kept. Defaults to
            None, which starts anew.

    Raises:
        LearningError: If a loss becomes NaN or infinite, or has no gradients; nothing is committed
            then.
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
        counts = parallel.gather(len(entries))
        optimizer = torch.optim.Adam(groups)
        step = _Step(quantizers, entries, objective, settings, unit_loss, optimizer, counts)
        with objective.task.learning() if objective.task else nullcontext():
            first = progress.load(quantizers, optimizer) if progress else 0
            for index in range(first, settings.num_iters):
                step.take(index)
                if progress:
                    progress.save(index + 1, quantizers, optimizer)
        took_steps = first < settings.num_iters
        if took_steps and not any(parallel.gather(step.has_gradients)):
            raise LearningError(NO_GRADIENTS)
    quantizers.commit()


@dataclass
class _Step:
    """One step of learning.

    Attributes:
        optimizer (Optimizer): Of all learned parameters.
        counts (list[int]): Number of samples that each process has.
        has_gradients (bool): Whether any loss of this process depended on what is learned.
        *: The arguments of ``train_unit``.
    """

    quantizers: UnitQuantizers
    entries: Entries
    objective: UnitObjective
    settings: TrainingSettings
    unit_loss: float
    optimizer: torch.optim.Optimizer
    counts: list[int]
    has_gradients: bool = False
    _reason: str | None = None

    def take(self, index: int) -> None:
        """Learn from some samples in step ``index``."""
        roundings, settings = self.quantizers.roundings, self.settings
        progress = index / settings.num_iters
        if roundings:
            settings.rounding.before_step(roundings)
        self.optimizer.zero_grad()
        losses, finite = self._backward(index)
        if roundings:
            settings.rounding.after_backward(roundings, progress)
        # What after_backward adds is the same in all processes.
        learned = [p for group in self.optimizer.param_groups for p in group['params']]
        (failed,) = parallel.mean_gradients(learned, [not finite])
        if failed:
            raise LearningError(self._reason)
        if self.quantizers.scale_deltas:
            cosine = 0.5 * (1 + math.cos(math.pi * progress))
            self.optimizer.param_groups[-1]['lr'] = cosine * settings.act_lr
        self.optimizer.step()
        if self.objective.task:
            self.objective.task.after_step(index, losses)

    def _backward(self, step: int) -> tuple[list[dict[str, Tensor]], bool]:
        """Add gradients of some samples of this process.

        Returns:
            tuple: Their losses on head outputs; whether all losses are finite.
        """
        shares = parallel.shares(self.counts, self.settings.batch_size, step)
        share = shares[get_rank()]
        chosen = torch.randperm(len(self.entries), device='cpu')[:share].tolist()
        entries = [self.entries[index] for index in chosen]
        if self.objective.task is None and entries:
            entries = join(entries)
        parts = []
        # The mean over the processes is the mean over all samples of the step.
        size = sum(shares) / (get_world_size() * max(share, 1)) * len(entries)
        for entry in entries:
            try:
                loss, heads = self.objective.losses(entry, self.settings.drop_prob)
                parts.append(heads)
                if not torch.isfinite(loss):
                    return parts, False
                if loss.requires_grad:
                    self.has_gradients = True
                    (loss / (size * abs(self.unit_loss))).backward()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # code that is only meant to predict, such as in-place
                self._reason = f'{NO_GRADIENTS} ({first_line(error)})'
                return parts, False
        return parts, True


@torch.no_grad()
def mean_loss(entries: Entries, objective: UnitObjective) -> float:
    """Loss over the entries of all processes, everything quantized; NaN where it is not finite."""
    losses = [objective.losses(entries[index], 0.0)[0] for index in range(len(entries))]
    return torch.stack(parallel.gather_shards(losses)).mean().item()
