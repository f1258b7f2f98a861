"""The diagnosis of a calibrated model: errors of every layer, their causes, what mends them."""

from typing import Any

from mmptq.ptq.context import PTQContext
from mmptq.quantization.layers import QUANT_LAYERS

from .causes import NOTABLE, Cause, causes_of
from .diagnosis import points_layer
from .input_origin import InputOrigin, trace_origins
from .layer_errors import LayerErrors
from .layer_facts import LayerFacts, is_depthwise

# Samples on which errors are measured.
NUM_SAMPLES = 4


def collect_facts(ctx: PTQContext, num_samples: int = NUM_SAMPLES) -> list[LayerFacts]:
    """What is known of each quantized layer that ran, in order of execution.

    Args:
        ctx (PTQContext): Calibrated.
        num_samples (int): Calibration samples, evenly spread. Defaults to 4.
    """
    errors = LayerErrors(ctx)
    errors.measure(ctx.batches('layer errors', num_samples))
    results, inputs = errors.results(), errors.inputs.results()
    weighted = {n: m for n, m in ctx.model.named_modules() if isinstance(m, tuple(QUANT_LAYERS))}
    first = ctx.first_batch()
    origins = trace_origins(weighted, lambda: ctx.predict(first))
    readers = set().union(*(origin.sources for origin in origins.values()))
    points = points_layer(ctx)
    facts = []
    for plan in ctx.plan.layers:
        if plan.name not in results:
            continue
        origin = origins.get(plan.name, InputOrigin())
        facts.append(
            LayerFacts(
                plan.name,
                ctx.layers[plan.name].module,
                origin,
                last=plan.name in origins and plan.name not in readers,
                points=plan.name == points,
                behind_depthwise=_behind_depthwise(origin, origins, weighted),
                **results[plan.name],
                **inputs.get(plan.name, {}),
            )
        )
    return facts


def _behind_depthwise(
    origin: InputOrigin, origins: dict[str, InputOrigin], weighted: dict[str, Any]
) -> bool:
    near = set(origin.sources)
    for name in origin.sources:
        near |= origins[name].sources if name in origins else set()
    return any(is_depthwise(weighted[name]) for name in near)


def typed_remedy(ctx: PTQContext, name: str, cause: Cause | None) -> str:
    """What can be typed against a cause, for the command line of tools/ptq.py."""
    wide = f"--bits '{name}=w8a16'" if ctx.limits is None else f"--float '{name}'"
    if cause is None or cause.remedy == 'wide':
        return wide
    if cause.remedy == 'range':
        return f'--recipe percentile, or {wide}'
    if cause.remedy == 'source':
        return 'mend the depthwise convolutions before it'
    scheme = (
        '--scheme int8_depthwise, or ' if ctx.limits is None and cause.kind == 'depthwise' else ''
    )
    return f'--recipe auto, or {scheme}{wide}'


def diagnosis_rows(ctx: PTQContext, facts: list[LayerFacts]) -> list[dict[str, Any]]:
    """A row per layer, the largest error first.

    Args:
        ctx (PTQContext): The run.
        facts (list[LayerFacts]): From ``collect_facts``.

    Returns:
        list[dict]: layer, own_error, input_error, weight_error, accumulated_error, output_loss
        (None; for who measures it), cause, causes (a sentence each), ratio, remedy (None where
        nothing has to be mended).
    """
    rows = []
    for item in facts:
        causes = causes_of(item)
        first = causes[0] if causes else None
        notable = bool(causes) or item.own >= NOTABLE
        rows.append(
            dict(
                layer=item.name,
                own_error=item.own,
                input_error=item.own_input,
                weight_error=item.own_weight,
                accumulated_error=item.accumulated,
                output_loss=None,
                cause=first.kind if first else None,
                causes=[cause.text for cause in causes],
                ratio=first.ratio if first else None,
                remedy=typed_remedy(ctx, item.name, first) if notable else None,
            )
        )
    return sorted(rows, key=lambda row: -row['own_error'])
