"""Files that appear under their final name only when they are complete."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .messages import first_line


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
    """Write plain data as indented JSON, complete or not at all."""
    with complete_file(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + '\n')
