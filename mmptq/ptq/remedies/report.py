"""What the search for remedies found and did, in about ten lines."""

from typing import Any

from .tuning import Tuning

SHOWN = 3


def report(tuning: Tuning, before: float, rows: list[dict[str, Any]]) -> None:
    """Log and record the search.

    Args:
        tuning (Tuning): At its end.
        before (float): Loss at its beginning.
        rows (list[dict]): The diagnosis, from ``diagnosis_rows``.
    """
    ctx = tuning.ctx
    lines = [f'output loss {before:.3g} (0 is the float model, {tuning.target:g} is small)']
    for row in [row for row in rows if row['remedy']][:SHOWN]:
        why = row['causes'][0] if row['causes'] else 'no single cause'
        lines.append(f"'{row['layer']}' has an error of {row['own_error']:.2g}: {why}")
    lines += [_step(step) for step in tuning.steps]
    if not tuning.steps:
        lines.append('nothing has to be changed')
    verdict = 'small' if tuning.good else 'not small'
    lines.append(f'output loss at the end {tuning.value:.3g}: {verdict}')
    ctx.logger.info('diagnosis and remedies\n  ' + '\n  '.join(lines))
    content = dict(before=before, after=tuning.value, target=tuning.target, steps=tuning.steps)
    ctx.record('auto', content)
    if not tuning.good:
        ctx.logger.warning(advice(tuning, rows))


def advice(tuning: Tuning, rows: list[dict[str, Any]]) -> str:
    """The three worst layers, and what mends them."""
    worst = worst_layers(rows, tuning.losses, set(tuning.ctx.layers))
    if not worst:
        return 'the outputs differ from those of the float model, and no single layer is the cause'
    names = ' '.join(f"'{name}'" for name in worst)
    return (
        f'the outputs differ from those of the float model; the layers that cost most are '
        f'{", ".join(worst)}: add --float {names}'
    )


def worst_layers(
    rows: list[dict[str, Any]], losses: dict[str, float], quantized: set[str]
) -> list[str]:
    """Quantized layers with the largest output loss, or the largest own error."""
    names = [row['layer'] for row in rows if row['layer'] in quantized]
    return sorted(names, key=lambda name: -losses.get(name, 0.0))[:SHOWN]


def _step(step: dict[str, Any]) -> str:
    names = step['layers']
    if not names:
        return f'{step["remedy"]}: nothing to change'
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    shown = ', '.join(names[:SHOWN])
    change = f'{step["before"]:.3g} -> {step["after"]:.3g}'
    verb = '' if step['kept'] else ', reverted'
    return f'{step["remedy"]} on {len(names)} layers ({shown}{more}): loss {change}{verb}'
