"""Which layers are quantized, how, and why the others are not."""

from .float_parts import NOTES
from .plan import QuantPlan


def coverage_rows(plan: QuantPlan) -> list[dict[str, str]]:
    """One row per weighted layer, quantized attention, part in float and unfolded BatchNorm.

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
        notes += ['channel multiplier'] if item.multiplier else []
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
        dict(
            layer=name,
            kind=item.kind,
            weight=item.right.describe(),
            input=item.left.describe(),
            note=item.note,
        )
        for name, item in plan.products.items()
    ]
    rows += [
        _float_row(name, kind, NOTES.get(kind, f'no quantized version of {kind}'))
        for name, kind in plan.unsupported.items()
    ]
    rows += [_float_row(name, kind, note) for name, (kind, note) in plan.float_parts.items()]
    rows += [
        _float_row(name, 'BatchNorm', f'not folded: {reason}')
        for name, reason in plan.unfolded.items()
    ]
    return rows


def _float_row(layer: str, kind: str, note: str) -> dict[str, str]:
    return dict(layer=layer, kind=kind, weight='float', input='float', note=note)
