"""Channels evened out before they are quantized."""

from mmptq.ptq.checks.causes import NOTABLE, causes_of
from mmptq.ptq.checks.layer_facts import LayerFacts
from mmptq.ptq.stages.channel_multiplier import ChannelMultiplier

from .tuning import Tuning


def even_out_channels(tuning: Tuning) -> None:
    """Try channel multipliers on depthwise convolutions, then on others that lose more than most.

    Whether it helps a layer without a known cause is seen by the error of its output.
    """
    uneven = {facts.name: facts for facts in tuning.facts if _may_help(facts)}
    if not uneven:
        return
    if any(facts.depthwise for facts in tuning.facts):
        _attempt(tuning, 'channel multiplier', ChannelMultiplier())
        # Whether the rarest values are objects or outliers is seen by the outputs.
        if not tuning.good:
            stage = ChannelMultiplier(extremes=True)
            _attempt(tuning, 'channel multiplier that keeps rare values', stage)
    others = [name for name, facts in uneven.items() if not facts.depthwise]
    if others and not tuning.good:
        _attempt(tuning, 'channel multiplier', ChannelMultiplier(depthwise=False, layers=others))


def _attempt(tuning: Tuning, remedy: str, stage: ChannelMultiplier) -> None:
    ctx = tuning.ctx

    def change() -> list[str]:
        before = {plan.name for plan in ctx.plan.layers if plan.multiplier}
        stage.run(ctx)
        names = {plan.name for plan in ctx.plan.layers if plan.multiplier} | before
        if names:
            tuning.calibrator.calibrate(ctx, names)
        return sorted(names)

    if tuning.attempt(remedy, change):
        tuning.refresh()


def _may_help(facts: LayerFacts) -> bool:
    causes = causes_of(facts)
    if causes:
        return any(cause.remedy == 'multiplier' for cause in causes)
    return facts.step is not None and facts.own_input >= NOTABLE
