"""What a run decided by itself: remedies, layers at more bits, bits under a budget."""

from collections import Counter
from typing import Any

SHOWN = 3


def decision_content(records: dict[str, Any]) -> list[dict[str, Any]]:
    """Tables of decisions, each with ``title``, ``header``, ``rows`` and ``note``.

    Args:
        records (dict): Rows by kind; those of 'auto', 'accuracy_control' and 'bit_allocation'.
    """
    found = [
        _remedies(records.get('auto')),
        _trials(records.get('accuracy_control')),
        _bits(records.get('bit_allocation'), records.get('bit_budget')),
    ]
    return [table for table in found if table]


def _remedies(record: Any) -> dict[str, Any] | None:
    if not isinstance(record, dict) or 'steps' not in record:
        return None
    rows = [
        [
            step['remedy'],
            _names(step['layers']),
            f'{step["before"]:.3g} → {step["after"]:.3g}' if step['layers'] else '',
            ('kept' if step['kept'] else 'reverted') if step['layers'] else 'nothing to change',
        ]
        for step in record['steps']
    ]
    note = (
        f'The loss compares the outputs with those of the float model on calibration samples: '
        f'{record["before"]:.3g} before, {record["after"]:.3g} after; {record["target"]:g} or less '
        'is small. No labels are used.'
    )
    return dict(title='Remedies', header=['remedy', 'layers', 'loss', ''], rows=rows, note=note)


def _trials(record: Any) -> dict[str, Any] | None:
    if not isinstance(record, dict) or 'trials' not in record:
        return None
    rows = [
        [
            str(trial['reverted']),
            f'{trial["value"]:.4f}',
            f'{trial["drop"]:+.4f}',
            'reached' if trial['passed'] else 'not reached',
        ]
        for trial in record['trials']
    ]
    header = ['groups of layers at more bits', str(record['metric']), 'drop', '']
    layers = _names(record['layers']) or 'none'
    note = f'Allowed drop {record["max_drop"]:g}. Layers at more bits in the end: {layers}.'
    return dict(title='Accuracy control', header=header, rows=rows, note=note)


def _bits(rows: Any, budget: Any) -> dict[str, Any] | None:
    if not isinstance(rows, list) or not rows:
        return None
    layers, weights = Counter(), Counter()
    for row in rows:
        layers[row['bits']] += 1
        weights[row['bits']] += row['weights']
    total = sum(weights.values()) or 1
    cells = [
        [bits, str(count), f'{weights[bits] / total:.1%}'] for bits, count in sorted(layers.items())
    ]
    used = (budget or {}).get('used') or {}
    note = f'Used: {", ".join(map(str, used.values()))}.' if used else ''
    header = ['bits', 'layers', 'share of the weights']
    return dict(title='Bits of layers', header=header, rows=cells, note=note)


def _names(layers: list[str]) -> str:
    more = f' and {len(layers) - SHOWN} more' if len(layers) > SHOWN else ''
    return ', '.join(layers[:SHOWN]) + more
