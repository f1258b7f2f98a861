"""The samples of a run's evaluation in a file, for comparisons with other runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmptq.evaluation.predictions import LANES, Predictions
from mmptq.evaluation.resampling import load_table, table_arrays
from mmptq.evaluation.resampling.metric_table import BY_ITSELF
from mmptq.quantization import QuantizationError
from mmptq.utils.files import complete_file

from .evaluation_record import Evaluated

SAMPLES_FILE = 'samples.npz'
# Predictions of a sample that the file holds.
MOST_SAVED = 100


def save_samples(evaluated: Evaluated, work_dir: str | Path) -> None:
    """Write what an evaluation kept of each sample.

    Args:
        evaluated (Evaluated): Of the quantized model.
        work_dir (str | Path): Where ``samples.npz`` is put.
    """
    about = dict(
        metrics=evaluated.metrics,
        main=evaluated.main,
        prefix=evaluated.prefix,
        method=evaluated.method,
    )
    arrays = {f'table.{name}': array for name, array in table_arrays(evaluated.table).items()}
    arrays.update(_packed(evaluated.predictions or []))
    arrays['about'] = np.array(json.dumps(about, default=str))
    with complete_file(Path(work_dir) / SAMPLES_FILE) as temporary, temporary.open('wb') as file:
        np.savez_compressed(file, **arrays)


def load_samples(work_dir: str | Path) -> Evaluated:
    """What ``save_samples`` wrote.

    Raises:
        QuantizationError: If the folder has no such file, or it cannot be read.
    """
    path = Path(work_dir) / SAMPLES_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(str(arrays['about']))
        table = {
            name.removeprefix('table.'): array
            for name, array in arrays.items()
            if name.startswith('table.')
        }
        if not table and about['method'] == BY_ITSELF:
            about['method'] = 'the metric keeps its results only while its run lasts'
        return Evaluated(**about, table=load_table(table), predictions=_unpacked(arrays))
    except (OSError, ValueError, KeyError) as error:
        raise QuantizationError(
            f"'{path}' cannot be read ({type(error).__name__}): name the work directory of a PTQ "
            'run that evaluated its model with a report'
        ) from error


def _packed(samples: list[Predictions]) -> dict[str, Any]:
    if not samples:
        return {}
    samples = [sample.first(MOST_SAVED) for sample in samples]
    kind = next((sample.kind for sample in samples if len(sample)), samples[0].kind)
    shapes = [shape for sample in samples for shape in sample.shapes]
    found = dict(
        kind=np.array(kind),
        sources=np.array([sample.source for sample in samples]),
        counts=np.array([len(sample) for sample in samples]),
        scores=np.concatenate([sample.scores for sample in samples]).astype(np.float32),
        labels=np.concatenate([sample.labels for sample in samples]).astype(np.int32),
    )
    if kind == LANES:
        found['lengths'] = np.array([len(shape) for shape in shapes], dtype=np.int32)
        shapes = [np.zeros((0, 2)), *shapes]
        found['shapes'] = np.concatenate(shapes).astype(np.float32)
    else:
        found['shapes'] = np.array(shapes, dtype=np.float32)
    return found


def _unpacked(arrays: dict[str, Any]) -> list[Predictions] | None:
    if 'kind' not in arrays:
        return None
    kind, ends = str(arrays['kind']), arrays['counts'].cumsum()
    shapes = arrays['shapes']
    if kind == LANES:
        shapes = np.split(shapes, arrays['lengths'].cumsum()[:-1]) if len(shapes) else []
    found = []
    for source, count, end in zip(arrays['sources'], arrays['counts'], ends, strict=True):
        part = slice(end - count, end)
        own = (shapes[part], arrays['scores'][part], arrays['labels'][part])
        found.append(Predictions(kind, *own, str(source)))
    return found
