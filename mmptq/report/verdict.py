"""The result of a run in one line."""

import re
from collections import Counter
from typing import Any

from mmptq.evaluation.resampling import interval_of, is_noise
from mmptq.utils.metrics import main_metric

from .tables import metric_label

_BITS = re.compile(r'(\d+)')


def scheme_name(coverage: list[dict[str, Any]]) -> str:
    """'INT8' or 'W4A8': the bits that most quantized layers have.

    Args:
        coverage (list[dict]): The record 'coverage' of a run.
    """
    found: Counter = Counter()
    for row in coverage:
        bits = [_BITS.search(str(row.get(key) or '')) for key in ('weight', 'input')]
        if all(bits):
            found[tuple(int(match[1]) for match in bits)] += 1
        elif bits[0]:
            found[int(bits[0][1]), 0] += 1
    if not found:
        return 'quantized'
    weight, act = found.most_common(1)[0][0]
    if weight == act:
        return f'INT{weight}'
    return f'W{weight}A{act}' if act else f'W{weight}'


def number(value: float, signed: bool = False) -> str:
    """A metric as people write it: '.4480', '+.0010', '12.30'."""
    text = f'{value:+.4f}' if signed else f'{value:.4f}'
    if abs(value) >= 10:
        text = f'{value:+.2f}' if signed else f'{value:.2f}'
    return re.sub(r'^([+-]?)0\.', r'\1.', text)


def verdict(
    result: dict[str, Any],
    intervals: dict[str, Any] | None,
    names: tuple[str, str] = ('float', 'quantized'),
) -> dict[str, str]:
    """What a run comes to.

    Args:
        result (dict): Metrics of two models by the keys of ``names``.
        intervals (dict, optional): The record 'intervals'.
        names (tuple[str, str]): Of the two models.

    Returns:
        dict: ``text``, such as 'mAP .4470 -> .4480, difference within noise: +.0010 [-.0020,
            +.0040]', and ``kind``: 'same', 'worse', 'better' or 'unknown'.
    """
    before, after = (result.get(name) or {} for name in names)
    if not after:
        return dict(text='not evaluated', kind='unknown')
    name = (intervals or {}).get('metric') or main_metric_or_none(after)
    if name is None or name not in after:
        return dict(text='the evaluation gave no number', kind='unknown')
    label = metric_label(name)
    if before.get(name) is None or after.get(name) is None:
        return dict(text=f'{label} {number(after[name])}', kind='unknown')
    change = after[name] - before[name]
    text = f'{label} {number(before[name])} -> {number(after[name])}'
    row = interval_of(intervals)
    if row is None or row['difference'] is None or row['low'] is None:
        return dict(text=f'{text} ({number(change, True)})', kind='unknown')
    limits = (
        f'{number(row["difference"], True)} [{number(row["low"], True)}, '
        f'{number(row["high"], True)}]'
    )
    if is_noise(row):
        return dict(text=f'{text}, difference within noise: {limits}', kind='same')
    kind = 'better' if row['difference'] > 0 else 'worse'
    return dict(text=f'{text}, {kind} than chance explains: {limits}', kind=kind)


def main_metric_or_none(metrics: dict[str, Any]) -> str | None:
    """Like ``main_metric``; None where no metric is a number."""
    try:
        return main_metric(metrics)
    except ValueError:
        return None
