"""Plain text tables."""

import re
from typing import Any

from mmptq.quantization import QuantPlan, coverage_rows
from mmptq.utils.metrics import is_number


def format_table(rows: list[dict[str, Any]]) -> str:
    """Align rows of equal keys into a Markdown table; the keys are the header."""
    if not rows:
        return '(no rows)'
    header = list(rows[0])
    cells = [header] + [[_text(row[key]) for key in header] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    lines = [
        '| '
        + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + ' |'
        for line in cells
    ]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return '\n'.join(lines)


def coverage_text(plan: QuantPlan) -> str:
    """How many layers are quantized, and the coverage table."""
    count = sum(layer.quantized for layer in plan.layers)
    float_count = len(plan.layers) - count + len(plan.unsupported)
    return (
        f'{count} layers are quantized, {float_count} stay float, '
        f'{len(plan.folded)} BatchNorms are folded, {len(plan.unfolded)} not:\n'
        + format_table(coverage_rows(plan))
    )


def metric_label(name: str) -> str:
    """Short name of a metric for a column: 'mAP' of 'coco/bbox_mAP'."""
    return re.split('[/_]', name)[-1]


def comparison_rows(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """Float and quantized value of every metric that both have, and their difference.

    Args:
        before (dict): Metrics of the float model; may be empty.
        after (dict): Metrics of the quantized model. Values that are no numbers have no difference.
    """
    rows = []
    for name, value in after.items():
        reference = before.get(name)
        numbers = is_number(value) and is_number(reference)
        difference = value - reference if numbers else None
        rows.append(dict(metric=name, float=reference, quantized=value, difference=difference))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return '-'
    return f'{value:.4f}' if isinstance(value, float) else str(value)
