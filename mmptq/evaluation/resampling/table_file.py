"""Tables of resampled metrics as plain arrays, for files."""

import json
from typing import Any

import numpy as np

from .nuscenes_score import NuScenesTable
from .paired_bootstrap import ResampledMetric
from .precision_table import PrecisionTable, PrecisionView
from .ratio_table import RatioTable

_SCORE = ('tp_threshold', 'score', 'precision')
_COLUMNS = ('samples', 'labels', 'scores', 'hits', 'ignored', 'objects', 'used')


def table_arrays(table: ResampledMetric | None) -> dict[str, np.ndarray]:
    """Arrays that ``load_table`` makes the table of again; none of a metric that recomputes."""
    if isinstance(table, PrecisionTable):
        about = dict(
            kind='precision',
            rule=table.rule,
            classes=table.classes,
            names=table.names,
            views=list(table.views),
        )
        found = {
            f'{name}.{column}': _compact(getattr(view, column))
            for name, view in table.views.items()
            for column in _COLUMNS
        }
        if isinstance(table, NuScenesTable):
            about.update({key: getattr(table, key) for key in _SCORE}, kind='nuscenes')
            found['errors'] = table.errors
    elif isinstance(table, RatioTable):
        about = dict(kind='ratio', names=table.names)
        found = dict(tops=table.tops, bottoms=table.bottoms)
    else:
        return {}
    return dict(found, about=np.array(json.dumps(about)))


def load_table(arrays: dict[str, Any]) -> ResampledMetric | None:
    """Inverse of ``table_arrays``; None of no arrays."""
    if 'about' not in arrays:
        return None
    about = json.loads(str(arrays['about']))
    if about['kind'] == 'ratio':
        return RatioTable(arrays['tops'], arrays['bottoms'], about['names'])
    views = {
        name: PrecisionView(*(arrays[f'{name}.{column}'] for column in _COLUMNS))
        for name in about['views']
    }
    names = {name: (view, threshold) for name, (view, threshold) in about['names'].items()}
    known = (views, about['rule'], about['classes'], names)
    if about['kind'] == 'nuscenes':
        more = {key: about[key] for key in _SCORE}
        return NuScenesTable(*known, errors=arrays['errors'], **more)
    return PrecisionTable(*known)


def _compact(column: np.ndarray) -> np.ndarray:
    return column.astype(np.int32) if column.dtype.kind == 'i' else column
