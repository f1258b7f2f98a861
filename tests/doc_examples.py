"""Runs the examples of the documentation."""

import re
from typing import Any

from helpers import ROOT


def python_example(page: str) -> str:
    """The first Python block of a page such as ``docs/development/add_adapter.md``."""
    found = re.search(r'^```python\n(.*?)^```', (ROOT / page).read_text(), re.M | re.S)
    assert found, f'{page} has no Python block'
    return found.group(1)


def run_example(page: str, **names: Any) -> dict[str, Any]:
    """Run the first Python block of a page; returns its names.

    Args:
        page (str): Path below the root of the project.
        **names (Any): What the block may use without defining it.
    """
    code = compile(python_example(page), page, 'exec')
    exec(code, names)
    return names
