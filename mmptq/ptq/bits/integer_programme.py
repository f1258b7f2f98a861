"""The cheapest choice of one option per group under budgets, by an integer programme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from mmptq.utils.errors import QuantizationError

# The solver stops at absolute differences of 1e-6, so the losses are brought to this size.
LARGEST_LOSS = 1e4
# Of options with equal losses the one that uses more of the budget is taken.
TIE = 1e-6
TIME_LIMIT = 60.0  # seconds; a few hundred groups take less than one
# A budget may be exceeded by the tolerance of the solver; it is solved again with a little less.
SHRINK = (1.0, 1 - 1e-7, 1 - 1e-5, 1 - 1e-3)


@dataclass(frozen=True)
class Option:
    """One way to quantize a group of layers.

    Attributes:
        loss (float): What it costs in accuracy.
        costs (dict[str, float]): What it takes of each budget.
    """

    loss: float
    costs: Mapping[str, float] = field(default_factory=dict)


def choose_options(
    groups: Sequence[Sequence[Option]], budgets: Mapping[str, float]
) -> list[int] | None:
    """The options with the smallest sum of losses that keep every budget.

    ``min sum_g loss[g, k_g]`` with ``sum_g cost_b[g, k_g] <= budget_b`` for each budget b, solved
    by ``scipy.optimize.milp`` (HiGHS). Of equally good choices the one that uses more of the
    budgets wins.

    Args:
        groups (Sequence[Sequence[Option]]): The options of each group.
        budgets (Mapping[str, float]): Limits of the sums of costs, by name.

    Returns:
        list[int] or None: Index of the chosen option of each group; None where no choice keeps
        all budgets.

    Raises:
        QuantizationError: If the solver finds nothing within a minute.
    """
    for factor in SHRINK:
        chosen = _solve(groups, {name: limit * factor for name, limit in budgets.items()})
        if chosen is None or all(
            total_cost(groups, chosen, name) <= limit for name, limit in budgets.items()
        ):
            return chosen
    return None


def smallest_cost(groups: Sequence[Sequence[Option]], name: str) -> float:
    """The least that a choice can take of a budget."""
    return sum(min(option.costs[name] for option in options) for options in groups)


def total_cost(groups: Sequence[Sequence[Option]], chosen: Sequence[int], name: str) -> float:
    """What a choice takes of a budget."""
    pairs = zip(groups, chosen, strict=True)
    return sum(options[index].costs[name] for options, index in pairs)


def total_loss(groups: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    """Sum of the losses of a choice."""
    return sum(options[index].loss for options, index in zip(groups, chosen, strict=True))


def _solve(groups: Sequence[Sequence[Option]], budgets: Mapping[str, float]) -> list[int] | None:
    options = [option for group in groups for option in group]
    owners = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    count = len(options)
    one_each = csr_array((np.ones(count), (owners, np.arange(count))), (len(groups), count))
    constraints = [LinearConstraint(one_each, 1, 1)]
    losses = np.array([option.loss for option in options], dtype=np.float64)
    losses *= LARGEST_LOSS / max(np.abs(losses).max(), 1e-300)
    for name, limit in budgets.items():
        costs = np.array([option.costs[name] for option in options], dtype=np.float64)
        unit = max(abs(limit), 1e-300)
        constraints.append(LinearConstraint(costs[None] / unit, -np.inf, limit / unit))
        losses -= TIE * LARGEST_LOSS / len(groups) * costs / max(costs.max(), 1e-300)
    result = milp(
        losses,
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options=dict(mip_rel_gap=0.0, time_limit=TIME_LIMIT),
    )
    if result.x is None:
        if result.status == 1:
            raise QuantizationError(
                f'no choice of bits was found within {TIME_LIMIT:.0f} s: give fewer widths in '
                'weight_bits, or one budget at a time'
            )
        return None
    chosen: list[int] = []
    for index in range(len(groups)):
        inside = np.flatnonzero(owners == index)
        chosen.append(int(result.x[inside].argmax()))
    return chosen
