"""Layers of a run: how they are quantized, what they lose, and why."""

import math
from typing import Any

from .svg import bar, histogram

# Columns that records may add to a layer, and what stands above them.
COLUMNS = dict(
    noise='input noise',
    clipped='clipped',
    own_error='own error',
    accumulated_error='accumulated error',
    output_loss='output loss',
    loss='output loss at its bits',
    output_share='share of output at risk',
    bits='bits',
    kind='kind',
    causes='cause',
    cause='cause',
    remedy='remedy',
)
# Records with a row per layer.
RECORDS = ('input_ranges', 'diagnosis', 'bit_allocation')
# By the first of these that is known, the worst layers come first.
ORDER = ('output_loss', 'own_error', 'noise')
SHOWN = 15
KINDS = dict(
    points='raw points: metres and other units share one step',
    depthwise='depthwise: its channels share one step and never mix',
    other='channels of very different ranges',
)


def layer_content(records: dict[str, Any]) -> dict[str, Any]:
    """The table of the worst layers, and histograms of their inputs.

    Args:
        records (dict): Rows by kind.

    Returns:
        dict: ``header``, ``shown`` and ``folded`` rows (lists of cells), ``histograms``, ``note``.
    """
    layers: dict[str, dict[str, Any]] = {}
    for kind in RECORDS:
        for row in _rows(records.get(kind)):
            known = layers.setdefault(row['layer'], {})
            known.update({key: row[key] for key in COLUMNS if row.get(key) not in (None, '', [])})
    keys = [key for key in COLUMNS if any(key in row for row in layers.values())]
    if 'causes' in keys and 'cause' in keys:
        keys.remove('cause')  # the same in one word
    order = next((key for key in ORDER if key in keys), None)
    ranked = sorted(layers.items(), key=lambda item: -_number(item[1].get(order)))
    highest = max((_number(row.get(order)) for row in layers.values()), default=0.0)
    rows = [
        [dict(text=name, name=True, number=False)]
        + [_cell(key, row.get(key), highest if key == order else 0.0) for key in keys]
        for name, row in ranked
    ]
    pictures = [
        dict(title=row['layer'], chart=histogram(row), caption=_caption(row))
        for row in _rows(records.get('input_ranges'))
        if row.get('counts')
    ]
    header = ['layer', *[COLUMNS[key] for key in keys]] if keys else []
    note = '' if rows else 'No errors of layers: the run was made without a report.'
    return dict(
        header=header, shown=rows[:SHOWN], folded=rows[SHOWN:], histograms=pictures, note=note
    )


def coverage_content(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The coverage table: ``header`` and ``rows`` of texts, and a ``summary``."""
    header = list(rows[0]) if rows else []
    floats = sum(row.get('weight') == 'float' for row in rows)
    cells = [[str(row.get(key) or '') for key in header] for row in rows]
    summary = f'{len(rows)} layers, {floats} of them float'
    return dict(title='Coverage', header=header, rows=cells, summary=summary, open=False)


def _rows(rows: Any) -> list[dict[str, Any]]:
    """Rows of a record that are about layers; other versions may have written anything."""
    rows = rows if isinstance(rows, list) else []
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get('layer'), str)]


def _cell(key: str, value: Any, highest: float) -> dict[str, Any]:
    if value is None:
        return dict(text='', number=False)
    if key == 'noise' and _number(value) > 0:
        text = f'{10 * math.log10(value):.1f} dB'
    elif key in ('clipped', 'output_share'):
        text = f'{value:.2%}'
    elif key == 'kind':
        text = KINDS.get(value, str(value))
    elif isinstance(value, list):
        text = '; '.join(map(str, value))
    else:
        text = f'{value:.3g}' if isinstance(value, float) else str(value)
    cell = dict(text=text, number=isinstance(value, float))
    if highest > 0:
        cell['bar'] = bar(_number(value) / highest)
    return cell


def _caption(row: dict[str, Any]) -> str:
    return (
        f'values {row["smallest"]:.3g} to {row["largest"]:.3g}, range {row["low"]:.3g} to '
        f'{row["high"]:.3g}, {row["clipped"]:.2%} clipped'
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
