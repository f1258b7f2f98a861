"""Shell-style patterns over names of modules."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from .errors import QuantizationError


def matches(name: str, patterns: str | Iterable[str]) -> bool:
    """Whether a name fits a pattern, or one of several; case counts."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def match(
    patterns: str | Sequence[str], names: Iterable[str], where: str, kind: str = 'layer'
) -> list[str]:
    """The names that fit a pattern, or one of several patterns.

    Args:
        patterns (str | Sequence[str]): Names or globs such as ``'backbone.*'``; case counts.
        names (Iterable[str]): All names there are.
        where (str): What holds the patterns, for the message: ``'skip'``, ``'--groups'``.
        kind (str): What the names name, for the message. Defaults to 'layer'.

    Returns:
        list[str]: Each once, in the order of ``names``.

    Raises:
        QuantizationError: If a pattern fits no name; the message holds the closest one.
    """
    patterns, names = [patterns] if isinstance(patterns, str) else patterns, list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise no_match(pattern, names, where, kind)
    return [name for name in dict.fromkeys(names) if matches(name, patterns)]


def no_match(
    pattern: str, names: Iterable[str], where: str, kind: str = 'layer'
) -> QuantizationError:
    """The error for a pattern that fits nothing, to be raised; arguments as for ``match``."""
    close = difflib.get_close_matches(pattern, list(names), n=1, cutoff=0)
    hint = f"the closest is '{close[0]}'" if close else f'the model has no {kind}'
    return QuantizationError(f"{where} '{pattern}' matches no {kind}: {hint}")
