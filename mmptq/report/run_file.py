"""Reading the ``run.json`` of a work directory."""

import json
from pathlib import Path
from typing import Any

from mmptq.ptq.run_record import RUN_FILE
from mmptq.quantization import QuantizationError


def read_run(work_dir: str | Path) -> dict[str, Any]:
    """The content of ``run.json``; see ``mmptq.ptq.run_record.RunRecord``.

    Raises:
        QuantizationError: If the folder has none, or it cannot be read.
    """
    path = Path(work_dir) / RUN_FILE
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise QuantizationError(
            f"'{path}' cannot be read ({type(error).__name__}): name the work directory of a PTQ "
            'run'
        ) from error


def read_record(work_dir: str | Path, kind: str) -> Any:
    """The rows that were recorded last under a kind.

    Args:
        work_dir (str | Path): Of a PTQ run.
        kind (str): 'coverage', 'result', 'reconstruction' ...

    Raises:
        QuantizationError: If the run recorded nothing of this kind.
    """
    records = read_run(work_dir)['records']
    found = [record['rows'] for record in records if record['kind'] == kind]
    if not found:
        known = ', '.join(dict.fromkeys(record['kind'] for record in records)) or 'nothing'
        path = Path(work_dir) / RUN_FILE
        raise QuantizationError(f"'{path}' has no record '{kind}', only {known}: finish the run")
    return found[-1]


def find_record(work_dir: str | Path, kind: str) -> Any | None:
    """Like ``read_record``; None where there is no such record, or no run yet."""
    try:
        return read_record(work_dir, kind)
    except QuantizationError:
        return None
