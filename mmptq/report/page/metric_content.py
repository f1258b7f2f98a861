"""Metrics of two models as tables with intervals."""

from os.path import commonprefix
from typing import Any

from mmptq.report.tables import comparison_rows
from mmptq.report.verdict import number
from mmptq.utils.metrics import is_number

from .svg import forest, forest_limit

# Rows that are shown at once; the others are folded.
SHOWN = 12
LONG = 32  # letters of a name
SIZES = {'_s': 'small objects', '_m': 'medium objects', '_l': 'large objects'}


def metric_tables(
    before: dict[str, Any], after: dict[str, Any], intervals: dict[str, Any] | None
) -> dict[str, list]:
    """Rows of all metrics: ``sizes`` of COCO's, ``shown`` and ``folded`` of the others.

    Args:
        before (dict): Of the first model.
        after (dict): Of the second model.
        intervals (dict, optional): The record 'intervals'.
    """
    known = {row['name']: row for row in (intervals or {}).get('rows') or []}
    rows = comparison_rows(before, after)
    rows = [row for row in rows if is_number(row['float']) or is_number(row['quantized'])]
    # The main metric and all others with an interval first.
    rows.sort(key=lambda row: row['metric'] not in known)
    limit = forest_limit([row for row in known.values() if is_number(row['low'])])
    common = _common_part([row['metric'] for row in rows])
    found = [_row(row, known.get(row['metric']), limit) for row in rows]
    for row in found:
        row['name'] = row['name'].removeprefix(common)
    sizes = [row for row in found if row['size']]
    others = [row for row in found if not row['size']]
    return dict(shown=others[:SHOWN], folded=others[SHOWN:], sizes=sizes)


def class_rows(intervals: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row per class with objects, the largest loss first."""
    rows = (intervals or {}).get('classes') or []
    rows = [row for row in rows if is_number(row['first']) and is_number(row['second'])]
    rows = [row for row in rows if row['first'] == row['first']]  # NaN without objects
    limit = forest_limit([row for row in rows if is_number(row['low'])])
    rows = sorted(rows, key=lambda row: row['difference'])
    shown = [
        dict(
            metric=row['name'],
            float=row['first'],
            quantized=row['second'],
            difference=row['difference'],
        )
        for row in rows
    ]
    return [_row(row, known, limit) for row, known in zip(shown, rows, strict=True)]


def interval_note(intervals: dict[str, Any] | None) -> str:
    """How the intervals were found, or why there are none."""
    if intervals is None:
        return 'No intervals: this run kept no samples of its evaluations.'
    if 'reason' in intervals:
        return f'No intervals: {intervals["reason"]}.'
    return (
        f'Intervals hold 95 % of the differences in {intervals["resamples"]:,} paired bootstrap '
        f'resamples of the {intervals["samples"]:,} samples (seed {intervals["seed"]}); both '
        f'models are resampled together. Method: {intervals["method"]}. An interval that holds 0 '
        'is within noise.'
    )


def _common_part(names: list[str]) -> str:
    """What all names begin with, up to a slash; nothing where names are short."""
    if not names or max(map(len, names)) < LONG:
        return ''
    shared = commonprefix(names)
    return shared[: shared.rfind('/') + 1]


def _row(row: dict[str, Any], known: dict[str, Any] | None, limit: float) -> dict[str, Any]:
    name, size = row['metric'], ''
    for ending, text in SIZES.items():
        if 'mAP' in name and name.endswith(ending):
            size = text
    kind, interval, chart = '', '', ''
    if known is not None and is_number(known['low']) and is_number(known['high']):
        interval = f'[{number(known["low"], True)}, {number(known["high"], True)}]'
        chart = forest(known, limit)
        if known['low'] > 0 or known['high'] < 0:
            kind = 'better' if known['low'] > 0 else 'worse'
    return dict(
        name=name,
        size=size,
        first=_text(row['float']),
        second=_text(row['quantized']),
        difference=_text(row['difference'], True),
        interval=interval,
        chart=chart,
        kind=kind,
    )


def _text(value: Any, signed: bool = False) -> str:
    if value is None:
        return '–'
    return number(value, signed) if isinstance(value, float) else str(value)
