"""SiLU, GELU and their like: a narrow negative side beside a wide positive one."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

# SiLU goes down to -0.278, GELU to -0.170, Mish to -0.309, Hardswish to -0.375.
LOWEST = -0.38
# Levels of the negative side, below which it is lost.
FEW_LEVELS = 8


def two_sided(facts: LayerFacts) -> Cause | None:
    """Most values of such an activation lie on its negative side, which gets few levels."""
    if facts.step is None or facts.own_input < NOTABLE or not facts.low.numel():
        return None
    low, high = float(facts.low.min()), float(facts.high.max())
    if not LOWEST <= low < 0 or -low / facts.step >= FEW_LEVELS:
        return None
    levels = -low / facts.step
    return Cause(
        'two-sided',
        f'a two-sided activation such as SiLU: {levels:.2g} levels for its negative side, down to '
        f'{low:.3g}, beside a range up to {high:.3g}',
        'multiplier',
        high / -low,
    )
