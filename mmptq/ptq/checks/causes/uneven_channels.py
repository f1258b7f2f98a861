"""Channels whose ranges differ, on one scale."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

# Of a depthwise convolution no sum over channels hides what the narrow ones lose.
DEPTHWISE_RATIO = 3.0
RATIO = 10.0


def uneven_channels(facts: LayerFacts) -> Cause | None:
    """One scale for channels of very different ranges leaves few levels to most of them."""
    if facts.step is None or facts.own_input < NOTABLE:
        return None
    if facts.ratio < (DEPTHWISE_RATIO if facts.depthwise else RATIO):
        return None
    kind = 'depthwise' if facts.depthwise else 'uneven'
    never = ', which never mix' if facts.depthwise else ''
    return Cause(
        kind,
        f'channels{never}: the widest range is {facts.ratio:.3g} times a typical one',
        'multiplier',
        facts.ratio,
    )
