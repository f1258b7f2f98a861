"""What the page of one run shows, from ``run.json``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmptq.evaluation.score_shift import shift_text
from mmptq.report.verdict import number, scheme_name, verdict

from .decision_content import decision_content
from .layer_content import coverage_content, layer_content
from .metric_content import class_rows, interval_note, metric_tables

KIND_TITLES = dict(same='Within noise', worse='Worse', better='Better', unknown='Not compared')

UNREADABLE = dict(
    header=[], shown=[], folded=[], histograms=[], note='The records of layers cannot be read.'
)


def run_content(run: dict[str, Any], work_dir: str | Path, **found: Any) -> dict[str, Any]:
    """What ``page.html.j2`` shows of a run.

    Args:
        run (dict): Content of ``run.json``.
        work_dir (str | Path): Its folder.
        **found: ``samples`` (list of ``title``, ``picture`` and ``caption``) and
            ``samples_note``, which says what is missing there.
    """
    records = {record['kind']: record['rows'] for record in run['records']}
    result = records.get('result') or {}
    intervals = records.get('intervals')
    says = verdict(result, intervals)
    coverage = records.get('coverage') or []
    scheme = scheme_name(coverage)
    name = Path(work_dir).resolve().name
    return dict(
        title=f'{name}: {scheme}',
        heading=f'{scheme}: {says["text"].replace("->", "→")}',
        kind=says['kind'],
        kind_title=KIND_TITLES[says['kind']],
        subtitle=f'{name} · mmptq {run["version"]}',
        facts=_facts(result, records, coverage),
        names=('float', 'quantized'),
        metrics=metric_tables(result.get('float') or {}, result.get('quantized') or {}, intervals),
        metrics_note=interval_note(intervals),
        classes=class_rows(intervals),
        shift=describe_shift(records.get('score_shift'), ('float', 'quantized')),
        samples=found.get('samples') or [],
        samples_note=found.get('samples_note') or '',
        decisions=_of_records(decision_content, records, []),
        layers=_of_records(layer_content, records, UNREADABLE),
        coverage=coverage_content(coverage),
        timings=_timings(run, records),
        environment=describe_environment(run),
        command=run.get('command') or '',
        files=_files(work_dir),
    )


def _of_records(function: Callable[[dict], Any], records: dict, otherwise: Any) -> Any:
    """Other versions and stages of others may have recorded anything."""
    try:
        return function(records)
    except (KeyError, TypeError, ValueError, AttributeError):
        return otherwise


def _facts(result: dict, records: dict, coverage: list) -> list[dict[str, str]]:
    """The cards below the heading."""
    facts = []
    if result.get('float_bytes'):
        before, after = (result[key] / 2**20 for key in ('float_bytes', 'quantized_bytes'))
        note = f'of weights, {before:.2f} MB in float32'
        facts.append(dict(label='Size', value=f'{after:.2f} MB', note=note))
    quantized = sum(str(row.get('weight', '')).startswith(('int', 'uint')) for row in coverage)
    if coverage:
        note = f'of {len(coverage)}; the others stay float'
        facts.append(dict(label='Quantized layers', value=str(quantized), note=note))
    shift = records.get('score_shift')
    if shift and shift.get('mean') is not None:
        note = f'mean over {shift["pairs"]} matched detections'
        facts.append(dict(label='Score shift', value=number(shift['mean'], True), note=note))
    if result.get('seconds') is not None:
        note = f'with {result.get("num_samples")} calibration samples'
        facts.append(dict(label='Quantized in', value=_seconds(result['seconds']), note=note))
    return facts


def describe_shift(shift: dict[str, Any] | None, names: tuple[str, str]) -> dict[str, str] | None:
    """A score shift in words: ``title``, ``text``, ``advice`` where another threshold helps.

    Args:
        shift (dict, optional): The record 'score_shift'.
        names (tuple[str, str]): Of the two models.
    """
    if shift is None:
        return None
    text, advice = shift_text(shift, names), ''
    place = shift.get('same_count_at')
    if place is not None and abs(place - shift['threshold']) >= 0.005:
        advice = (
            f'Where the {names[0]} model is used with a threshold of {shift["threshold"]:.3g}, use '
            f'{place:.3f} with the {names[1]} one.'
        )
    title = 'Score shift' if shift['mean'] is not None else f'Number of {shift["what"]}'
    return dict(title=title, text=text[:1].upper() + text[1:] + '.', advice=advice)


def _timings(run: dict, records: dict) -> list[dict[str, Any]]:
    rows = [dict(name=row['stage'], seconds=row['seconds'], kind='stage') for row in run['stages']]
    rows += [
        dict(name=row['check'], seconds=row['seconds'], kind='check')
        for row in records.get('checks') or []
    ]
    longest = max((row['seconds'] for row in rows), default=0.0) or 1.0
    return [
        dict(row, text=_seconds(row['seconds']), share=row['seconds'] / longest) for row in rows
    ]


def describe_environment(run: dict[str, Any]) -> list[tuple[str, str]]:
    """Versions, seed and machine of a run."""
    rows = [('mmptq', str(run['version'])), ('seed', str(run['seed']))]
    rows += [(key, str(value)) for key, value in run['environment'].items() if value is not None]
    return rows


def _files(work_dir: str | Path) -> list[dict[str, str]]:
    """Files of the run that lie beside the page."""
    about = {
        'quantized.pth': 'the quantized checkpoint',
        'run.json': 'all of this as data',
        'coverage.json': 'the coverage table as data',
        'layer_scores.json': 'output losses of single layers',
        'samples.npz': 'predictions of each sample, for tools/analysis/compare.py',
    }
    return [
        dict(name=name, about=text)
        for name, text in about.items()
        if (Path(work_dir) / name).is_file()
    ]


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f'{1000 * seconds:.0f} ms'
    return f'{seconds:.1f} s' if seconds < 120 else f'{seconds / 60:.1f} min'
