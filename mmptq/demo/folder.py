"""Folders that get their final name only when they are complete."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = 'manifest.json'


def read_manifest(folder: str | Path) -> dict | None:
    """Return the parameters of a data folder.

    Args:
        folder (str | Path): The data folder.

    Returns:
        dict | None: The parameters, or None if the folder has no readable manifest.
    """
    try:
        return json.loads((Path(folder) / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def is_complete(folder: str | Path, parameters: dict) -> bool:
    """Return whether a folder exists and was created with exactly these parameters."""
    return read_manifest(folder) == json.loads(json.dumps(parameters))


@contextmanager
def new_folder(folder: str | Path, parameters: dict) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes ``folder`` on success and is removed on error.

    The manifest is written last, then the folder is renamed. A data set that this function created
    with other parameters is replaced; any other existing folder is refused.

    Args:
        folder (str | Path): The final folder.
        parameters (dict): Plain data written to the manifest.

    Yields:
        Path: The temporary folder, a sibling of the final one.

    Raises:
        FileExistsError: If the folder exists and is not a generated data set.
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists() and read_manifest(folder) is None:
        if not folder.is_dir() or any(folder.iterdir()):
            raise FileExistsError(
                f"'{folder}' exists and is not a generated data set (no {MANIFEST}): "
                'remove it or choose another output folder.'
            )
        folder.rmdir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    partial = folder.with_name(f'.{folder.name}.partial-{os.getpid()}')
    partial.mkdir()
    try:
        yield partial
        (partial / MANIFEST).write_text(json.dumps(parameters, indent=2) + '\n')
        _publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, folder: Path) -> None:
    """Rename ``partial`` to ``folder``; a directory cannot be replaced while it has content."""
    if folder.exists():
        old = folder.with_name(f'.{folder.name}.partial-{os.getpid()}-old')
        os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old)
    else:
        os.replace(partial, folder)


def _remove_abandoned(folder: Path) -> None:
    """Remove partial folders left by runs that were killed (their process is gone)."""
    for path in folder.parent.glob(f'.{folder.name}.partial-*'):
        process = int(path.name.rsplit('partial-', 1)[1].split('-')[0])
        if process == os.getpid() or not _is_alive(process):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
