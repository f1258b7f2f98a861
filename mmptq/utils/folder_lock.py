"""A folder that one run at a time works in."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import QuantizationError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = '.mmptq.lock'


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[None]:
    """Within this context no other process can lock the folder.

    The operating system holds the lock and takes it back when the process ends, however it ends:
    the file that a killed run leaves behind stops nobody. Where the file system has no locks, the
    folder is not guarded.

    Args:
        folder (str | Path): Made where it is missing.

    Raises:
        QuantizationError: If another process holds the lock; names it.
    """
    path = Path(folder) / LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path) as file:
        file.seek(0)
        file.truncate()
        json.dump(dict(pid=os.getpid(), host=socket.gethostname()), file)
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


@contextmanager
def _open(path: Path) -> Iterator:
    """The lock file, locked; taken again if its owner removed it in between."""
    while True:
        with open(path, 'a+') as file:
            _lock(file, path)
            if _is_at(file, path):
                yield file
                return


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file, path: Path) -> None:
    if fcntl is None:
        return
    try:
        # Not flock: worker processes would inherit it and keep it after their parent was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise QuantizationError(
            f"another run works in '{path.parent}' ({_owner(path)}): wait for its end, or choose "
            'another --work-dir'
        ) from error
    except OSError:
        return  # a file system without locks


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text())
        return f'process {owner["pid"]} on {owner["host"]}'
    except (OSError, ValueError, KeyError):
        return 'an unknown process'
