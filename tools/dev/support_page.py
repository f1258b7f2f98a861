"""The generated part of docs/support.md, for support_matrix.py."""

from collections import Counter
from typing import Any

START, END = '<!-- support matrix: start -->', '<!-- support matrix: end -->'
HEADER = '| Config | Layers | Float | Adapter | Learned | Tested | ONNX Runtime | Seconds |'


def fill_page(text: str, rows: list[dict[str, Any]], untried: list[str]) -> str:
    """A page with everything between its two markers made anew.

    Args:
        text (str): The page.
        rows (list[dict]): Results by config.
        untried (list[str]): Configs without a result.

    Raises:
        ValueError: If the page lacks a marker.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f'the page lacks {START} or {END}: put both lines where the table goes')
    listed = ', '.join(untried)
    rest = f'\nConfigs without a result, which the next run of the tool tries: {listed}.\n'
    return f'{before}{START}\n\n{render(rows)}{rest if untried else ""}\n{END}{after}'


def render(rows: list[dict[str, Any]]) -> str:
    """Summary and tables as Markdown."""
    run = [row for row in rows if state(row, 'run') == 'ok']
    notes: dict[str, int] = {}
    lines = [summary(rows), '', '### Configs that run on a CPU', '', HEADER, _rule(HEADER)]
    lines += [_row(row, notes) for row in run]
    lines += ['', 'Notes of this table:', '']
    lines += [f'{number}. {_cell(text)}' for text, number in notes.items()]
    left = [row for row in rows if row not in run]
    if left:
        head = '| Config | Builds | Reason |'
        lines += ['', '### Configs that do not build or run on a CPU', '', head, _rule(head)]
        lines += [_left_row(row) for row in left]
    return '\n'.join(lines) + '\n'


def summary(rows: list[dict[str, Any]]) -> str:
    """The numbers of the whole table in a few sentences."""
    counts = {name: _folders(rows, name) for name in ('build', 'run', 'test', 'export')}
    total = len({_folder(row) for row in rows})
    share = 100 * counts['test'] / max(1, counts['run'])
    adapters = sum(state(row, 'adapter') == 'ok' for row in rows)
    seconds = sum(step.get('seconds', 0) for row in rows for step in row['steps'].values())
    commits = Counter(row['facts'].get('commit') or 'an earlier one' for row in rows)
    rows_of = ', '.join(f'{name} ({count})' for name, count in commits.most_common())
    return (
        f'Of {total} folders of configs, {counts["build"]} build here and {counts["run"]} run on a '
        f'CPU. Of these, {counts["test"]} ({share:.0f} %) are quantized, tested, saved and loaded '
        f'again, and {counts["export"]} are exported and checked in ONNX Runtime. {adapters} of '
        f'{len(rows)} configs have an adapter. The whole table took {seconds / 60:.0f} minutes of '
        f'one CPU core. Commits of the rows: {rows_of}.'
    )


def _folders(rows: list[dict[str, Any]], name: str) -> int:
    return len({_folder(row) for row in rows if state(row, name) == 'ok'})


def _folder(row: dict[str, Any]) -> tuple[str, str]:
    return row['package'], row['folder']


def state(row: dict[str, Any], name: str) -> str:
    """State of a step; empty where it did not begin."""
    return row['steps'].get(name, {}).get('state', '')


def _row(row: dict[str, Any], notes: dict[str, int]) -> str:
    facts = row['facts']
    layers = str(facts.get('quantized', '–'))
    reasons = '; '.join(f'{count} {kind}: {note}' for kind, note, count in facts.get('reasons', []))
    float_cell = f'{facts["float"]}{_note(reasons, notes)}' if facts.get('float') else '0'
    name = _name(row)
    if 'same_as' in facts:
        name += f' (the network of {facts["same_as"].split("/")[1]})'
    cells = [name, layers, float_cell if 'float' in facts else '–']
    for name in ('adapter', 'learn', 'test', 'export'):
        entry = row['steps'].get(name)
        if name == 'test' and entry is None:
            entry = list(row['steps'].values())[-1]  # where it ended
        if entry is None:
            cells.append('–')
        elif entry['state'] == 'ok':
            cells.append(f'`{entry["text"]}`' if name == 'adapter' else 'yes')
        else:
            cells.append(f'no{_note(entry["text"], notes)}')
    seconds = sum(step.get('seconds', 0) for step in row['steps'].values())
    return _line([*cells, f'{seconds:.0f}'])


def _left_row(row: dict[str, Any]) -> str:
    builds = 'yes' if state(row, 'build') == 'ok' else 'no'
    entry = list(row['steps'].values())[-1]
    return _line([_name(row), builds, _cell(entry['text'])])


def _name(row: dict[str, Any]) -> str:
    return f'{row["package"]}: {"/".join(row["key"].split("/")[1:])}'


def _note(text: str, notes: dict[str, int]) -> str:
    return f' ({notes.setdefault(text, len(notes) + 1)})'


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|').replace('<', '&lt;')


def _line(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _rule(header: str) -> str:
    return '|' + '---|' * (header.count('|') - 1)
