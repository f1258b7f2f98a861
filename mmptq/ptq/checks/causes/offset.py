"""Values that lie far from zero."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

RATIO = 8.0


def offset(facts: LayerFacts) -> Cause | None:
    """A range that has to hold zero is many times what most channels vary by.

    Zero has to be on the grid, because convolutions pad with it.
    """
    if facts.step is None or facts.own_input < NOTABLE:
        return None
    ranges = facts.high - facts.low
    alive = ranges > 0
    if not alive.any():
        return None
    farthest = facts.low.abs().maximum(facts.high.abs())
    ratio = float((farthest[alive] / ranges[alive]).max())
    if ratio < RATIO:
        return None
    return Cause(
        'offset',
        f'values far from zero: up to {ratio:.3g} times the range of their channel',
        'wide',
        ratio,
    )
