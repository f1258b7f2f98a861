"""Small charts as SVG, for pages."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

FOREST = (240, 22)
HISTOGRAM = (320, 150)


def forest_limit(rows: Sequence[dict[str, Any]]) -> float:
    """Half the width of an axis on which all intervals fit."""
    ends = [abs(row[key]) for row in rows for key in ('low', 'high', 'difference')]
    return max([end for end in ends if math.isfinite(end)], default=0.0) * 1.08 or 1.0


def forest(row: dict[str, Any], limit: float) -> Markup:
    """The interval of a difference on an axis with zero in its middle.

    Args:
        row (dict): ``difference``, ``low`` and ``high``.
        limit (float): Of the axis, from ``forest_limit``.
    """
    width, height = FOREST
    if not all(math.isfinite(row[key]) for key in ('difference', 'low', 'high')):
        return Markup()
    place = {
        key: round(width / 2 * (1 + max(-1.0, min(1.0, row[key] / limit))), 1)
        for key in ('difference', 'low', 'high')
    }
    kind = 'same' if row['low'] <= 0 <= row['high'] else ('worse', 'better')[row['high'] > 0]
    middle, low, high = height / 2, place['low'], place['high']
    return Markup(
        f'<svg class="forest {kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{row["low"]:+.4f} to {row["high"]:+.4f}">'
        f'<line class="axis" x1="0" x2="{width}" y1="{middle}" y2="{middle}"/>'
        f'<line class="zero" x1="{width / 2}" x2="{width / 2}" y1="1" y2="{height - 1}"/>'
        f'<line class="range" x1="{low}" x2="{max(high, low + 0.5)}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{place["difference"]}" cy="{middle}" r="4"/></svg>'
    )


def histogram(row: dict[str, Any]) -> Markup:
    """Values of a layer input on a logarithmic scale, with the range of its quantizer.

    Args:
        row (dict): Of ``input_ranges``, with ``counts``.
    """
    width, height = HISTOGRAM
    base, top = height - 22, 8
    first, last = row['edges']
    first, last = min(first, row['low']), max(last, row['high'])
    span = last - first

    def place(value: float) -> float:
        return round(4 + (value - first) / span * (width - 8), 1)

    size = (row['edges'][1] - row['edges'][0]) / len(row['counts'])
    highest = math.log1p(max(row['counts'])) or 1.0
    bars = []
    for index, count in enumerate(row['counts']):
        left = place(row['edges'][0] + index * size)
        tall = round(math.log1p(count) / highest * (base - top), 1)
        broad = max(place(row['edges'][0] + (index + 1) * size) - left - 0.5, 0.5)
        bars.append(f'<rect x="{left}" y="{base - tall}" width="{broad:.1f}" height="{tall}"/>')
    low, high = place(row['low']), place(row['high'])
    label = escape(f'{row["layer"]}: range {row["low"]:.3g} to {row["high"]:.3g}')
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'<rect class="inside" x="{low}" y="{top}" width="{max(high - low, 1):.1f}" '
        f'height="{base - top}"/><g class="bars">{"".join(bars)}</g>'
        f'<line class="limit" x1="{low}" x2="{low}" y1="{top}" y2="{base}"/>'
        f'<line class="limit" x1="{high}" x2="{high}" y1="{top}" y2="{base}"/>'
        f'<line class="axis" x1="4" x2="{width - 4}" y1="{base}" y2="{base}"/>'
        f'<text x="4" y="{height - 6}">{first:.3g}</text>'
        f'<text x="{width - 4}" y="{height - 6}" text-anchor="end">{last:.3g}</text></svg>'
    )


def bar(share: float) -> Markup:
    """A bar for a part of the largest value."""
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return Markup(f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span>')
