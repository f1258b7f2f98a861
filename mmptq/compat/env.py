"""Checks of the installed packages: one sentence that names the package and the fix."""

import warnings
from importlib import import_module
from types import ModuleType

from packaging.version import Version

# (lowest version that works, first version that nobody tested); setup.py declares the same.
SUPPORTED = {
    'torch': ('2.6', '2.14'),
    'mmengine': ('0.10.4', '0.11'),
    'mmcv': ('2.1.0', '2.2.0'),
    'mmdet': ('3.2.0', '3.4.0'),
}

COMPILE_MMCV = (
    'run `pip install --no-build-isolation mmcv==2.1.0`, which compiles it for your torch'
)


def check_environment() -> None:
    """Checks that the packages mmptq needs are installed, new enough and complete.

    A version above the tested range only warns, because most new releases work.

    Raises:
        ImportError: If torch, mmengine, mmcv or mmdet is missing, broken or too old, or if mmcv
            has no compiled operators (mmcv-lite).
    """
    for name in SUPPORTED:
        _check_version(name)
        if name == 'mmcv':  # before mmdet, whose error would not name the cause
            _check_operators()


def require_spconv(reason: str) -> ModuleType:
    """Returns spconv.pytorch, without which sparse models cannot be built.

    Args:
        reason (str): What needs it, as the subject of a sentence: ``'the voxel encoder'``.

    Raises:
        ImportError: If spconv 2 is not installed.
    """
    try:
        return import_module('spconv.pytorch')
    except ImportError as error:
        raise ImportError(
            f'{reason} needs spconv 2, which cannot be imported ({error}): run `pip install '
            'spconv`, or with a GPU `pip install spconv-cu1xx`, where 1xx is its CUDA version'
        ) from error


def _range(name: str) -> str:
    lowest, untested = SUPPORTED[name]
    return f'{name}>={lowest},<{untested}'


def _check_version(name: str) -> None:
    lowest, untested = SUPPORTED[name]
    version = Version(_import(name).__version__)
    if version < Version(lowest):
        raise ImportError(f'{name} {version} is too old for mmptq: install {_range(name)}')
    if version >= Version(untested):
        warnings.warn(
            f'{name} {version} is newer than what mmptq was tested with: if something fails, '
            f'install {_range(name)}',
            stacklevel=4,
        )


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise ImportError(f'{name} is incomplete ({error}): install it again') from error
        fix = COMPILE_MMCV if name == 'mmcv' else f'install {_range(name)}'
        raise ImportError(f'mmptq needs {name}, which is not installed: {fix}') from error
    except (ImportError, AssertionError) as error:
        # mmdet asserts the ranges of mmcv and mmengine when it is imported.
        raise ImportError(f'{name} does not work in this environment: {error}') from error


def _check_operators() -> None:
    try:
        import_module('mmcv.ops')
    except ImportError as error:
        raise ImportError(
            f'mmcv is installed without working compiled operators ({error}): uninstall mmcv-lite '
            f'and mmcv, then {COMPILE_MMCV}'
        ) from error
