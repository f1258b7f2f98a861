"""A few outliers that stretch the range."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

RATIO = 8.0


def heavy_tail(facts: LayerFacts) -> Cause | None:
    """One value in a thousand is many times larger than all others."""
    if facts.step is None or facts.own_input < NOTABLE or facts.tail < RATIO:
        return None
    return Cause(
        'heavy tail',
        f'outliers: the largest value is {facts.tail:.3g} times what 99.9 % do not exceed',
        'range',
        facts.tail,
    )
