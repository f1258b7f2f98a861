"""Parts of error messages."""


def first_line(error: BaseException) -> str:
    """Type and first line of an exception, of which some have no message at all.

    Args:
        error (BaseException): Any exception.
    """
    lines = str(error).splitlines()
    name = type(error).__name__
    return f'{name}: {lines[0][:200]}' if lines else name
