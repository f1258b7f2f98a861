"""Why a layer loses more than others: one rule per file, the most specific one first."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .accumulated import accumulated
from .cause import NOTABLE, Cause
from .few_numbers import few_numbers
from .heavy_tail import heavy_tail
from .joined_ranges import joined_ranges
from .offset import offset
from .raw_points import raw_points
from .two_sided import two_sided
from .uneven_channels import uneven_channels
from .uneven_weights import uneven_weights

RULES = (
    raw_points,
    joined_ranges,
    uneven_channels,
    uneven_weights,
    two_sided,
    offset,
    heavy_tail,
    few_numbers,
    accumulated,
)

__all__ = ['NOTABLE', 'RULES', 'Cause', 'causes_of']


def causes_of(facts: LayerFacts) -> list[Cause]:
    """All causes that apply to a layer, the most specific one first."""
    found = (rule(facts) for rule in RULES)
    return [cause for cause in found if cause is not None]
