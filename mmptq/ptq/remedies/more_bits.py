"""More bits for the few layers that cost most."""

from mmptq.ptq.checks.causes import causes_of
from mmptq.ptq.checks.layer_facts import LayerFacts
from mmptq.ptq.context import PTQContext
from mmptq.ptq.set_scheme import detach, set_scheme
from mmptq.quantization import FakeQuantizer
from mmptq.utils.globs import matches

from .tuning import LEAST_GAIN, Tuning

# Layers whose loss is measured one by one: those with the largest own errors.
MEASURED = 32
# Layers that may get more bits, as shares of all layers and of all multiplications.
LAYER_SHARE = 0.15
FEWEST_LAYERS = 3
COST_SHARE = 0.2
# Where 8 bits leave a loss above this, little is left of the outputs: accuracy comes first.
POOR = 0.02
POOR_LAYER_SHARE, POOR_COST_SHARE = 0.5, 1.0
# What a layer costs besides its multiplications, as a share of all of them.
BASE_COST = 0.005
WIDE, NARROW = 16, 8


def give_more_bits(tuning: Tuning) -> None:
    """Give more bits to the layers with the largest loss per cost, until the loss is small."""
    measure_layers(tuning)
    order = _by_gain(tuning)
    chosen: list[str] = []
    value, before, everything = tuning.value, tuning.value, set(tuning.ctx.layers)
    count = 1
    while order and len(chosen) < len(order) and value > tuning.target:
        chosen = order[:count]
        value = float(tuning.loss(everything - set(chosen)).mean())
        count *= 2
    if not chosen or value > before * (1 - LEAST_GAIN):
        tuning.steps.append(
            dict(remedy='more bits', layers=chosen, before=before, after=value, kept=False)
        )
        return
    widen_layers(tuning, chosen)
    tuning.value = tuning.measure()
    tuning.steps.append(
        dict(remedy='more bits', layers=chosen, before=before, after=tuning.value, kept=True)
    )


def measure_layers(tuning: Tuning) -> None:
    """Measure the output loss of single layers, where their own error is among the largest."""
    points = [facts for facts in tuning.facts if facts.points]
    worst = sorted(tuning.facts, key=lambda facts: -facts.own)[:MEASURED]
    for facts in [*points, *(facts for facts in worst if not facts.points)]:
        if facts.name in tuning.ctx.layers:
            tuning.losses[facts.name] = float(tuning.loss({facts.name}).mean())


def _by_gain(tuning: Tuning) -> list[str]:
    """Layers by loss per cost, as many as may get more bits."""
    total = sum(facts.cost for facts in tuning.facts) or 1.0
    costs = {facts.name: facts.cost / total for facts in tuning.facts}
    found = sorted(
        (name for name in tuning.losses if name in tuning.ctx.layers),
        key=lambda name: -tuning.losses[name] / (costs[name] + BASE_COST),
    )
    layer_share, cost_share = _shares(tuning)
    limit = max(FEWEST_LAYERS, round(layer_share * len(tuning.facts)))
    chosen: list[str] = []
    for name in found:
        spent = sum(costs[other] for other in chosen)
        if len(chosen) < limit and spent + costs[name] <= cost_share:
            chosen.append(name)
    return chosen


def _shares(tuning: Tuning) -> tuple[float, float]:
    """Shares of layers and multiplications that may get more bits.

    With fewer than 8 bits a large loss is normal.
    """
    bits = [
        quantizer.scheme.bits
        for facts in tuning.facts
        for quantizer in (facts.layer.weight_quantizer, facts.layer.input_quantizer)
        if isinstance(quantizer, FakeQuantizer)
    ]
    if tuning.value > POOR and bits and sum(b < NARROW for b in bits) < len(bits) / 4:
        return POOR_LAYER_SHARE, POOR_COST_SHARE
    return LAYER_SHARE, COST_SHARE


def widen_layers(tuning: Tuning, names: list[str]) -> None:
    """Give these layers more bits, with their causes in the coverage table, and calibrate them."""
    facts = {item.name: item for item in tuning.facts}
    for name in names:
        causes = causes_of(facts[name])
        reason = f'auto: {causes[0].kind}' if causes else 'auto: costs most'
        widen(tuning.ctx, facts[name], reason)
    left = [name for name in names if name in tuning.ctx.layers]
    if left:
        tuning.calibrator.calibrate(tuning.ctx, left)


def widen(ctx: PTQContext, facts: LayerFacts, reason: str) -> None:
    """Give a layer the next number of bits: 8, then a 16-bit input, then float.

    Args:
        ctx (PTQContext): The run; where its backend has no 16 bits the layer becomes float.
        facts (LayerFacts): Of the layer.
        reason (str): For the coverage table.
    """
    layer = facts.layer
    schemes = {
        part: getattr(getattr(layer, f'{slot}_quantizer'), 'scheme', None)
        for part, slot in (('weight', 'weight'), ('act', 'input'))
    }
    low = [scheme for scheme in schemes.values() if scheme is not None and scheme.bits < NARROW]
    if low:
        narrow = {part: dict(bits=NARROW) for part, s in schemes.items() if s in low}
        set_scheme(ctx, facts.name, **narrow, reason=reason)
    elif has_wide_inputs(ctx, facts.name) and schemes['act'] is not None and _input_is_worse(facts):
        set_scheme(ctx, facts.name, act=dict(bits=WIDE), reason=reason)
    else:
        detach(ctx, facts.name, reason)


def has_wide_inputs(ctx: PTQContext, name: str) -> bool:
    """Whether a layer may have a 16-bit input: not where an engine has no such type."""
    limits = ctx.limits
    return limits is None or WIDE in limits.act_bits or matches(name, limits.outside)


def _input_is_worse(facts: LayerFacts) -> bool:
    scheme = getattr(facts.layer.input_quantizer, 'scheme', None)
    return facts.own_input >= facts.own_weight and scheme is not None and scheme.bits < WIDE
