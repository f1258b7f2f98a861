"""Concatenations and additions of tensors whose ranges differ."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

RATIO = 16.0


def joined_ranges(facts: LayerFacts) -> Cause | None:
    """One scale for what was joined is that of the widest operand."""
    if facts.step is None or facts.own_input < NOTABLE:
        return None
    join = max(facts.origin.joins, key=lambda join: join.ratio, default=None)
    if join is None or join.ratio < RATIO:
        return None
    return Cause(
        join.kind,
        f'{join.kind} of tensors whose ranges differ by a factor of {join.ratio:.3g}',
        'multiplier' if join.kind == 'concatenation' else 'wide',
        join.ratio,
    )
