"""Coordinates or metres in one tensor."""

from mmptq.ptq.checks.layer_facts import LayerFacts

from .cause import Cause

LEAST_RATIO = 4.0


def raw_points(facts: LayerFacts) -> Cause | None:
    """An input that no weighted layer made and that is no image: its columns differ in unit."""
    step = facts.step
    if step is None or facts.origin.sources or not facts.deviation.numel():
        return None
    if is_image(facts):
        return None
    alive = facts.deviation[facts.deviation > 0]
    if not alive.numel():
        return None
    ratio = float(alive.max() / alive.min())
    coarse = float(alive.min()) < step
    if not facts.points and not (ratio >= LEAST_RATIO and coarse):
        return None
    return Cause(
        'points',
        f'raw coordinates: a step of {step:.3g} for columns that vary by {float(alive.min()):.3g} '
        f'to {float(alive.max()):.3g}',
        'wide',
        ratio,
    )


def is_image(facts: LayerFacts) -> bool:
    """Whether the layer reads the pixels of an image."""
    weight = facts.layer.weight
    return weight.dim() == 4 and facts.deviation.numel() in (1, 3) and not facts.points
