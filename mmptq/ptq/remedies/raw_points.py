"""Raw points on a grid that is fine enough."""

from mmptq.ptq.checks.causes import causes_of

from .more_bits import widen_layers
from .tuning import LEAST_GAIN, Tuning


def refine_points(tuning: Tuning) -> None:
    """Give more bits to layers that read raw points, whatever the loss: it costs next to nothing.

    A few objects decide about the metric of a LiDAR detector, and the loss hardly shows them.
    """
    names = [
        facts.name
        for facts in tuning.facts
        if any(cause.kind == 'points' for cause in causes_of(facts))
    ]
    if not names:
        return
    before, everything = tuning.value, set(tuning.ctx.layers)
    value = float(tuning.loss(everything - set(names)).mean())
    kept = value < before * (1 - LEAST_GAIN)
    if kept:
        widen_layers(tuning, names)
        value = tuning.value = tuning.measure()
        tuning.refresh()
    tuning.steps.append(
        dict(remedy='more bits for points', layers=names, before=before, after=value, kept=kept)
    )
