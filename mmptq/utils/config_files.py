"""Config files by path, or by package and path as in ``mmdet::retinanet/NAME.py``."""

import difflib
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = Path('.mim/configs')  # below the folder of a package; mmptq's is a link in a checkout
PROJECTS = 'projects'  # code of mmdet and mmdet3d that their wheels leave out
BASE_CONFIGS = PACKAGE / CONFIGS / '_base_'


def config_path(name: str) -> str:
    """The path of a config file.

    Args:
        name (str): A path, or ``PACKAGE::PATH`` for a config that an installed package brings
            (mmdet, mmdet3d, mmptq).

    Raises:
        FileNotFoundError: If there is no such file; for a package, the message names the closest.
    """
    package, separator, inner = name.partition('::')
    if not separator:
        require_file(name, 'config')
        return name
    folder = _folder_of(package) / CONFIGS
    path = folder / inner
    if not path.is_file():
        known = [str(p.relative_to(folder)) for p in folder.rglob('*.py')]
        close = difflib.get_close_matches(inner, known, n=1, cutoff=0)
        hint = f"the closest is '{package}::{close[0]}'" if close else f'{package} has no configs'
        raise FileNotFoundError(f"config '{name}' does not exist: {hint}")
    return str(path)


def _folder_of(package: str) -> Path:
    if package == 'mmptq':
        return PACKAGE
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"there is no package '{package}' to take a config from: install it, or give a path"
        )
    return Path(spec.origin).parent


def read_config(name: str) -> Config:
    """Reads a config by its path or by ``PACKAGE::PATH``.

    Raises:
        FileNotFoundError: If there is no such file, or no module that it imports.
    """
    path = config_path(name)
    try:
        return Config.fromfile(path)
    except ImportError as error:
        cause: BaseException = error
        while cause.__cause__ or cause.__context__:
            cause = cause.__cause__ or cause.__context__
        fix = 'install it, or put the folder of the module on PYTHONPATH'
        if (getattr(cause, 'name', None) or '').split('.')[0] == PROJECTS:
            fix = (
                'packages install their code without it, so clone the repository of the config '
                'and put its folder on PYTHONPATH'
            )
        raise FileNotFoundError(
            f"config '{name}' imports what cannot be imported ({cause}): {fix}"
        ) from error


def config_stem(name: str) -> str:
    """Name of a config file without folders and ending."""
    return Path(name.rpartition('::')[2]).stem


def base_config(kind: str, name: str) -> Config:
    """A scheme, recipe or backend of ``configs/_base_`` by its name.

    Args:
        kind (str): 'scheme', 'recipe' or 'backend'.
        name (str): Name of the file without ``.py``.

    Raises:
        FileNotFoundError: If there is none of this name; the message lists those there are.
    """
    folder = BASE_CONFIGS / f'{kind}s'
    path = folder / f'{name}.py'
    if not path.is_file():
        known = ', '.join(sorted(p.stem for p in folder.glob('*.py')))
        raise FileNotFoundError(f"there is no {kind} '{name}': use one of {known}")
    return Config.fromfile(path)


def require_file(path: str, kind: str) -> None:
    """Raises FileNotFoundError where a path (not an address as ``https://``) is no file."""
    if '://' not in path and not Path(path).is_file():
        raise FileNotFoundError(f"{kind} '{path}' does not exist: check the path")
