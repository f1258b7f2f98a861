"""What the page shows that compares two runs."""

import math
from pathlib import Path
from typing import Any

from mmptq.report.tables import metric_label
from mmptq.report.verdict import scheme_name, verdict

from .metric_content import class_rows, interval_note, metric_tables
from .run_content import KIND_TITLES, describe_environment, describe_shift

# Scales whose ratio is at least this far from 1 differ.
LEAST_RATIO = 1.02


def compare_content(
    runs: tuple[dict[str, Any], dict[str, Any]],
    folders: tuple[str | Path, str | Path],
    metrics: tuple[dict[str, Any], dict[str, Any]],
    scales: tuple[dict[str, Any], dict[str, Any]],
    **found: Any,
) -> dict[str, Any]:
    """What ``page.html.j2`` shows of two runs.

    Args:
        runs (tuple[dict, dict]): Content of their ``run.json``.
        folders (tuple): Their work directories.
        metrics (tuple[dict, dict]): Metrics of their quantized models.
        scales (tuple[dict, dict]): Geometric mean of the scales by quantizer.
        **found: ``intervals``, ``shift``, ``samples``, ``samples_note`` and ``command``.
    """
    names = run_names(folders)
    result = dict(zip(names, metrics, strict=True))
    intervals = found['intervals']
    says = verdict(result, intervals, names)
    records = [{row['kind']: row['rows'] for row in run['records']} for run in runs]
    coverage = [record.get('coverage') or [] for record in records]
    schemes = [scheme_name(rows) for rows in coverage]
    text = says['text'].replace('->', '→')
    return dict(
        title=f'{names[0]} and {names[1]}',
        heading=text,
        kind=says['kind'],
        kind_title=KIND_TITLES[says['kind']],
        subtitle=f'{names[0]} ({schemes[0]}) → {names[1]} ({schemes[1]})',
        facts=_facts(names, records, metrics, intervals),
        names=names,
        metrics=metric_tables(*metrics, intervals),
        metrics_note=interval_note(intervals),
        classes=class_rows(intervals),
        shift=describe_shift(found.get('shift'), names),
        samples=found.get('samples') or [],
        samples_note=found.get('samples_note') or '',
        decisions=[],
        layers=None,
        coverage=differing_layers(names, coverage, scales),
        timings=[],
        environment=_differing_environment(names, runs),
        command=found.get('command') or '',
        files=[],
    )


def run_names(folders: tuple[str | Path, str | Path]) -> tuple[str, str]:
    """Names of two work directories that differ."""
    paths = [Path(folder).resolve() for folder in folders]
    short = [path.name for path in paths]
    if short[0] != short[1]:
        return short[0], short[1]
    longer = [f'{path.parent.name}/{path.name}' for path in paths]
    return (longer[0], longer[1]) if longer[0] != longer[1] else ('first', 'second')


def differing_layers(
    names: tuple[str, str], coverage: list[list[dict]], scales: tuple[dict, dict]
) -> dict[str, Any]:
    """Layers that two runs quantize in another way or with other scales, the largest ratio first.

    Args:
        names (tuple[str, str]): Of the runs.
        coverage (list[list[dict]]): Their coverage tables.
        scales (tuple[dict, dict]): Geometric mean of the scales by quantizer, such as
            'conv1.input_quantizer'.
    """
    tables = [{row['layer']: row for row in rows} for rows in coverage]
    rows = []
    for name in dict.fromkeys([*tables[0], *tables[1]]):
        one, other = (table.get(name) or {} for table in tables)
        ratios = {part: _ratio(scales, f'{name}.{part}_quantizer') for part in ('weight', 'input')}
        farthest = max((abs(math.log(r)) for r in ratios.values() if r), default=0.0)
        texts = [f'{row.get("weight", "–")} / {row.get("input", "–")}' for row in (one, other)]
        if texts[0] != texts[1] or farthest >= math.log(LEAST_RATIO):
            cells = [name, str((one or other).get('kind') or ''), *texts]
            cells += [f'× {ratio:.3g}' if ratio else '' for ratio in ratios.values()]
            rows.append((texts[0] == texts[1], -farthest, cells))
    rows.sort(key=lambda row: row[:2])
    total = len(set(tables[0]) | set(tables[1]))
    others = sum(not row[0] for row in rows)
    return dict(
        title='Layers that differ',
        header=['layer', 'kind', *names, 'scale of weights', 'scale of input'],
        rows=[cells for *_, cells in rows],
        summary=f'{len(rows)} of {total} layers; {others} of them at other bits',
        open=True,
    )


def _ratio(scales: tuple[dict, dict], name: str) -> float | None:
    one, other = (table.get(name) for table in scales)
    return other / one if one and other else None


def _facts(
    names: tuple[str, str], records: list[dict], metrics: tuple, intervals: dict | None
) -> list[dict[str, str]]:
    facts = []
    main = (intervals or {}).get('metric')
    for name, record, values in zip(names, records, metrics, strict=True):
        result = record.get('result') or {}
        size = (result.get('quantized_bytes') or 0) / 2**20
        value = values.get(main)
        text = f'{value:.4f}' if isinstance(value, float) else f'{size:.2f} MB'
        note = f'{metric_label(main)}, {size:.2f} MB of weights' if main in values else 'of weights'
        facts.append(dict(label=name, value=text, note=note))
    return facts


def _differing_environment(names: tuple[str, str], runs: tuple) -> list[tuple[str, str]]:
    """Commands of both runs, and what of their environments differs."""
    tables = [dict(describe_environment(run)) for run in runs]
    commands = [run.get('command') or '–' for run in runs]
    rows = [(f'command of {name}', text) for name, text in zip(names, commands, strict=True)]
    for key in dict.fromkeys([*tables[0], *tables[1]]):
        one, other = (table.get(key, '–') for table in tables)
        rows.append((key, one if one == other else f'{one} → {other}'))
    return rows
