"""Parts of error messages."""

import re


def first_line(error: BaseException) -> str:
    """Type and first line of an exception; only the type where there is no message.

    Args:
        error (BaseException): Any exception.
    """
    lines = str(error).splitlines()
    name = type(error).__name__
    return f'{name}: {lines[0][:200]}' if lines else name


class DataError(ValueError):
    """Bad annotations or images: one sentence that names file and line, and the fix."""


def last_sentence(error: BaseException) -> str:
    """The message alone, where a worker process of a dataloader put its traceback before it.

    Args:
        error (BaseException): As caught in the main process.
    """
    text = str(error)
    if not text.startswith('Caught '):
        return text
    lines = text.strip().splitlines()
    return re.sub(r'^[\w.]+: ', '', lines[-1])
