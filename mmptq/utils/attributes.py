"""Attributes that are replaced for one block of code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within this context ``owner.name`` is ``value``; the previous state is restored at the end.

    An attribute that belongs to the class of ``owner`` (a method) is hidden and not changed.

    Args:
        owner (Any): An object with a ``__dict__``.
        name (str): Name of the attribute.
        value (Any): What it is meanwhile.
    """
    missing = object()
    previous = vars(owner).get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if previous is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, previous)
