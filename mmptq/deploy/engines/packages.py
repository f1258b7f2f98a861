"""Packages that an installation of mmptq does not always have."""

from importlib import import_module
from types import ModuleType

from mmptq.quantization import QuantizationError


def require_package(name: str, install: str | None = None) -> ModuleType:
    """Import a package.

    Args:
        name (str): What to import.
        install (str, optional): The command that installs it; None stands for ``pip install NAME``.

    Raises:
        QuantizationError: If it is not installed; the message says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise QuantizationError(
            f"'{name}' is not installed ({error}): run `{install or f'pip install {name}'}`, or "
            '`pip install mmptq[deploy]` for all engines'
        ) from error
