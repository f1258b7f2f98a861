"""Errors that add up behind depthwise convolutions."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

RATIO = 10.0
LEAST = 10 * NOTABLE


def accumulated(facts: LayerFacts) -> Cause | None:
    """The layer itself loses little; what it reads from a depthwise convolution is wrong."""
    if not facts.behind_depthwise or facts.accumulated < max(LEAST, RATIO * facts.own):
        return None
    ratio = facts.accumulated / max(facts.own, 1e-12)
    return Cause(
        'accumulated',
        f'errors add up behind depthwise convolutions: {ratio:.3g} times the own error',
        'source',
        ratio,
    )
