"""Few outputs that mean numbers."""

import re

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import NOTABLE, Cause

FEW = 16
SCORES = re.compile(r'cls|class|score|heat|obj|exist|conf|seg|center', re.IGNORECASE)


def few_numbers(facts: LayerFacts) -> Cause | None:
    """A layer at the end with few outputs, which are sizes or positions and no scores."""
    if not facts.last or facts.num_outputs > FEW or facts.own < NOTABLE / 2:
        return None
    if SCORES.search(facts.name):
        return None
    return Cause(
        'few numbers',
        f'{facts.num_outputs} outputs that are numbers, which nothing averages',
        'wide',
        facts.num_outputs,
    )
