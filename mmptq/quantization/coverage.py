"""Which layers are quantized, how, and why the others are not."""

from torch import nn

from .convert import quantized_layers
from .plan import QuantPlan


def coverage_rows(plan: QuantPlan) -> list[dict[str, str]]:
    """One row per weighted layer and per BatchNorm that could not be folded.

    Args:
        plan (QuantPlan): What was done to the model.

    Returns:
        list[dict]: Keys layer, kind, weight, input, note; in order of execution.
    """
    folded = dict(plan.folded)
    rows = []
    for item in plan.layers:
        notes = [f'+ {folded[item.name]}'] if item.name in folded else []
        notes += [item.reason] if item.reason else []
        rows.append(
            dict(
                layer=item.name,
                kind=item.kind,
                weight=item.weight.describe() if item.weight else 'float',
                input=item.act.describe() if item.act else 'float',
                note='; '.join(notes),
            )
        )
    rows += [
        _float_row(name, kind, f'no quantized version of {kind}')
        for name, kind in plan.unsupported.items()
    ]
    rows += [
        _float_row(name, 'BatchNorm', f'not folded: {reason}')
        for name, reason in plan.unfolded.items()
    ]
    return rows


def _float_row(layer: str, kind: str, note: str) -> dict[str, str]:
    return dict(layer=layer, kind=kind, weight='float', input='float', note=note)


def model_size(model: nn.Module) -> tuple[int, int]:
    """Bytes of all parameters in float32, and with quantized weights at their bits.

    The second counts four bytes for each scale and each float parameter, one for a zero point.
    """
    float_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    saved = 0.0
    for layer in quantized_layers(model).values():
        scheme = getattr(layer.weight_quantizer, 'scheme', None)
        if scheme is not None:
            saved += layer.weight.numel() * (4 - scheme.bits / 8)
            saved -= 5 * layer.weight_quantizer.scale.numel()
    return float_bytes, round(float_bytes - saved)
