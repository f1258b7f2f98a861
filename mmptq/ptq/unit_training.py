"""The loop that learns rounding and scales of one unit."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmptq.quantization import AdaRound

from .activation_cache import ActivationCache
from .unit_data import join
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


Objective = Callable[[dict, float], Tensor]
"""Loss of a unit on an entry of its cache; the number is the share of dropped quantization."""


def train_unit(
    quantizers: UnitQuantizers,
    cache: ActivationCache,
    objective: Objective,
    settings: TrainingSettings,
) -> None:
    """Learn and commit.

    Raises:
        NotFiniteError: If a loss becomes NaN or infinite; nothing is committed then.
    """
    rounding = settings.rounding
    quantizers.learn(rounding, settings.act_lr is not None, settings.drop_prob)
    groups = [
        dict(params=[r.offset for r in quantizers.roundings], lr=rounding.lr if rounding else 0.0),
        dict(params=quantizers.shifts, lr=settings.act_lr or 0.0),
    ]
    groups = [group for group in groups if group['params']]
    if groups:
        optimizer = torch.optim.Adam(groups)
        for step in range(settings.num_iters):
            progress = step / settings.num_iters
            if quantizers.shifts:
                groups_lr = 0.5 * (1 + math.cos(math.pi * progress)) * settings.act_lr
                optimizer.param_groups[-1]['lr'] = groups_lr
            _step(quantizers, cache, objective, settings, optimizer, progress)
    quantizers.commit()


def _step(quantizers, cache, objective, settings, optimizer, progress) -> None:
    chosen = torch.randperm(len(cache))[: settings.batch_size].tolist()
    entries = join([cache[index] for index in chosen])
    optimizer.zero_grad()
    for entry in entries:
        loss = objective(entry, settings.drop_prob) / len(entries)
        if not torch.isfinite(loss):
            raise NotFiniteError
        loss.backward()
    for soft in quantizers.roundings:
        temperature = settings.rounding.temperature(progress)
        penalty = 0.0 if temperature is None else settings.rounding.weight
        soft.carry_gradient(penalty, temperature or 0.0)
    optimizer.step()
    for soft in quantizers.roundings:
        soft.prepare()


@torch.no_grad()
def mean_loss(cache: ActivationCache, objective: Objective) -> float:
    """Loss over all entries, everything quantized; NaN where it is not finite."""
    losses = [objective(cache[index], 0.0) for index in range(len(cache))]
    return torch.stack(losses).mean().item()
