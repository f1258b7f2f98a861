"""Inference engines by name."""

from pathlib import Path

from mmengine.registry import Registry

from mmptq.quantization import QuantizationError

from .engine import Engine

ENGINES = Registry('engine', scope='mmptq')
"""Subclasses of ``Engine`` by the name that backends and the command line use."""


def find_engine(name: str) -> type[Engine]:
    """The class of an engine.

    Raises:
        QuantizationError: If none has this name; the message lists the names.
    """
    if name not in ENGINES.module_dict:
        known = ', '.join(ENGINES.module_dict)
        raise QuantizationError(f"there is no engine '{name}': use one of {known}")
    return ENGINES.module_dict[name]


def open_engine(
    name: str, path: str | Path, threads: int = 0, size: tuple[int, int] | None = None
) -> Engine:
    """Load a file into the engine of this name.

    Args:
        name (str): A name in ``ENGINES``.
        path (str | Path): The file.
        threads (int): 0 leaves it to the engine.
        size (tuple[int, int], optional): Fixes an open height and width.

    Raises:
        QuantizationError: If there is no such engine or file, the engine is not installed, or it
            cannot load the file.
    """
    engine = find_engine(name)
    engine.require()
    require_engine_file(path)
    return engine(path, threads, size)


def engine_of_file(path: str | Path) -> str:
    """Name of the engine that a file was exported for.

    Raises:
        QuantizationError: If the file does not exist or no engine reads it.
    """
    require_engine_file(path)
    for name, engine in ENGINES.module_dict.items():
        if Path(path).suffix in engine.suffixes:
            return engine.read_metadata(path).get('engine', name)
    raise QuantizationError(
        f"no engine reads '{path}': files end in {', '.join(engine_suffixes())}"
    )


def engine_suffixes() -> tuple[str, ...]:
    """How the names of engines' files end."""
    suffixes = [suffix for engine in ENGINES.module_dict.values() for suffix in engine.suffixes]
    return tuple(dict.fromkeys(suffixes))


def require_engine_file(path: str | Path) -> None:
    """Raise QuantizationError where a file does not exist."""
    if not Path(path).is_file():
        raise QuantizationError(f"file '{path}' does not exist: check the path")
