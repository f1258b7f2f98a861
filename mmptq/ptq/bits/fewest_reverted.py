"""How many of the worst layers have to be kept at higher bits, in few evaluations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

# What is predicted is aimed at this share of the target first: a miss costs an evaluation.
SAFETY = (0.7, 0.4)


@dataclass
class Trial:
    """One evaluation.

    Attributes:
        count (int): How many of the worst layers were reverted.
        drop (float): How much the metric fell.
        passed (bool): Whether the drop is within the target.
    """

    count: int
    drop: float
    passed: bool


def fewest_reverted(
    losses: Sequence[float],
    drop_with: Callable[[int], float],
    target: float,
    most: int,
    evaluations: int,
) -> list[Trial]:
    """Search the smallest number of reverted layers that keeps the drop within a target.

    The drop is predicted from the sum of losses of the layers that are left, linearly between what
    was measured; a layer beyond ``most`` is never reverted. The first evaluation is that of the
    model as it is, the second one the prediction; the following ones close in from both sides. The
    last evaluation is that of ``most``, if nothing passed before.

    Args:
        losses (Sequence[float]): Of the layers, the worst first.
        drop_with (Callable): Evaluates the model with so many of the worst layers reverted.
        target (float): The largest drop that is allowed.
        most (int): The most layers that are reverted.
        evaluations (int): At most so many.

    Returns:
        list[Trial]: In order; the best one that passed has the smallest count.
    """
    rest = _remaining(losses)
    trials: list[Trial] = []

    def evaluate(count: int) -> Trial:
        drop = drop_with(count)
        trials.append(Trial(count, drop, drop <= target))
        return trials[-1]

    if evaluate(0).passed:
        return trials
    while len(trials) < evaluations:
        below = max((t for t in trials if not t.passed), key=lambda t: t.count)
        above = min((t for t in trials if t.passed), key=lambda t: t.count, default=None)
        ceiling = most + 1 if above is None else above.count
        if ceiling - below.count <= 1:
            break
        last = len(trials) == evaluations - 1
        if above is None and last:
            evaluate(most)
            continue
        safety = SAFETY[min(len(trials) - 1, len(SAFETY) - 1)] if above is None else 1.0
        count = _predicted(rest, below, above, target * safety)
        evaluate(min(max(count, below.count + 1), ceiling - 1))
    return trials


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The one that passed with the fewest reverted layers, or None."""
    return min((t for t in trials if t.passed), key=lambda t: t.count, default=None)


def _remaining(losses: Sequence[float]) -> list[float]:
    """Sum of the losses that are left with 0, 1, 2, ... layers reverted."""
    return [sum(losses) - done for done in accumulate(losses, initial=0.0)]


def _predicted(rest: Sequence[float], below: Trial, above: Trial | None, goal: float) -> int:
    """The smallest count whose predicted drop is within the goal."""
    end, end_drop = (0.0, 0.0) if above is None else (rest[above.count], above.drop)
    start = rest[below.count]
    slope = (below.drop - end_drop) / max(start - end, 1e-30)
    for count in range(below.count, len(rest)):
        if end_drop + slope * (rest[count] - end) <= goal:
            return count
    return len(rest) - 1
