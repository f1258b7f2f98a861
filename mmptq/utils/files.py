"""Files that appear under their final name only when they are complete."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .messages import first_line
from .trees import to_plain


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that takes the final name on success and vanishes on failure.

    Args:
        path (str | Path): Final name; its folder is made where it is missing.

    Raises:
        OSError: If the file cannot be written; the message names the file and the fix.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer.
        raise OSError(
            f"cannot write '{path}' ({first_line(error)}): free some space or choose "
            'another --work-dir'
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(data: Any, path: str | Path) -> None:
    """Write nested data as indented JSON, complete or not at all.

    Args:
        data (Any): Dicts, lists, tuples, numbers, texts, tensors and arrays. NaN and infinite
            numbers become null, which JSON has no other word for.
        path (str | Path): The file.
    """
    text = json.dumps(_finite(to_plain(data)), indent=1, allow_nan=False)
    with complete_file(path) as temporary:
        temporary.write_text(text + '\n')


def _finite(data: Any) -> Any:
    """Plain data with None in place of NaN and infinite numbers."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
