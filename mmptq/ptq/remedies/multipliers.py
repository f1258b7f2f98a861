"""Channels evened out before they are quantized."""

from mmptq.ptq.checks.causes import causes_of
from mmptq.ptq.stages.channel_multiplier import ChannelMultiplier

from .tuning import Tuning


def even_out_channels(tuning: Tuning) -> None:
    """Try channel multipliers on depthwise convolutions and on layers with uneven channels."""
    ctx = tuning.ctx
    uneven = [
        facts.name
        for facts in tuning.facts
        if any(cause.remedy == 'multiplier' for cause in causes_of(facts))
    ]
    if not uneven:
        return
    stage = ChannelMultiplier(layers=uneven)

    def change() -> list[str]:
        before = {plan.name for plan in ctx.plan.layers if plan.multiplier}
        stage.run(ctx)
        names = {plan.name for plan in ctx.plan.layers if plan.multiplier} | before
        if names:
            tuning.calibrator.calibrate(ctx, names)
        return sorted(names)

    if tuning.attempt('channel multiplier', change):
        tuning.refresh()
