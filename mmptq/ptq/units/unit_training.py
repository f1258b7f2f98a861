"""The loop that learns rounding and scales of one unit."""

import math
from dataclasses import dataclass

import torch

from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.quantization import AdaRound

from .unit_data import join
from .unit_objective import UnitObjective
from .unit_quantizers import UnitQuantizers


@dataclass(frozen=True)
class TrainingSettings:
    """How a unit is learned.

    Attributes:
        rounding (AdaRound, optional): How rounding is learned; None leaves it.
        act_lr (float, optional): Learning rate (Adam) of the logarithms of the scales of layer
            inputs, falling to zero along a cosine; None leaves the scales.
        drop_prob (float): Share of the values, of the unit's input and of layer inputs, that are
            those of the float model or not quantized, chosen at random in every step.
        num_iters (int): Steps.
        batch_size (int): Samples per step.
    """

    rounding: AdaRound | None
    act_lr: float | None
    drop_prob: float
    num_iters: int
    batch_size: int


class NotFiniteError(Exception):
    """A loss became NaN or infinite."""


def train_unit(
    quantizers: UnitQuantizers,
    cache: ActivationCache,
    objective: UnitObjective,
    settings: TrainingSettings,
    unit_loss: float,
) -> None:
    """Learn and commit.

    Args:
        quantizers (UnitQuantizers): Of the unit.
        cache (ActivationCache): Entries of all samples.
        objective (UnitObjective): The loss.
        settings (TrainingSettings): How it is learned.
        unit_loss (float): The loss is given in units of this.

    Raises:
        NotFiniteError: If a loss becomes NaN or infinite; nothing is committed then.
    """
    rounding = settings.rounding
    quantizers.learn(rounding, settings.act_lr is not None, settings.drop_prob)
    groups = [
        dict(params=[r.alpha for r in quantizers.roundings], lr=rounding.lr if rounding else 0.0),
        dict(params=quantizers.scale_deltas, lr=settings.act_lr or 0.0),
    ]
    groups = [group for group in groups if group['params']]
    if groups:
        step = _Step(quantizers, cache, objective, settings, unit_loss, torch.optim.Adam(groups))
        for index in range(settings.num_iters):
            step.take(index / settings.num_iters)
    quantizers.commit()


@dataclass
class _Step:
    """One step of learning; the fields are the arguments of ``train_unit`` and the optimizer."""

    quantizers: UnitQuantizers
    cache: ActivationCache
    objective: UnitObjective
    settings: TrainingSettings
    unit_loss: float
    optimizer: torch.optim.Optimizer

    def take(self, progress: float) -> None:
        """Learn from some samples at a share of all steps."""
        roundings, settings = self.quantizers.roundings, self.settings
        for soft in roundings:
            soft.prepare()
        self.optimizer.zero_grad()
        self._backward()
        if roundings:
            temperature = settings.rounding.temperature(progress)
            penalty = 0.0 if temperature is None else settings.rounding.reg_weight
            penalty /= sum(soft.alpha.numel() for soft in roundings)
            for soft in roundings:
                soft.carry_gradient(penalty, temperature or 1.0)
        if self.quantizers.scale_deltas:
            cosine = 0.5 * (1 + math.cos(math.pi * progress))
            self.optimizer.param_groups[-1]['lr'] = cosine * settings.act_lr
        self.optimizer.step()

    def _backward(self) -> None:
        chosen = torch.randperm(len(self.cache))[: self.settings.batch_size].tolist()
        entries = [self.cache[index] for index in chosen]
        if self.objective.task is None:
            entries = join(entries)
        for entry in entries:
            loss = self.objective(entry, self.settings.drop_prob)
            if not torch.isfinite(loss):
                raise NotFiniteError
            if loss.requires_grad:
                (loss / (len(entries) * abs(self.unit_loss))).backward()


@torch.no_grad()
def mean_loss(cache: ActivationCache, objective: UnitObjective) -> float:
    """Loss over all entries, everything quantized; NaN where it is not finite."""
    losses = [objective(cache[index], 0.0) for index in range(len(cache))]
    return torch.stack(losses).mean().item()
