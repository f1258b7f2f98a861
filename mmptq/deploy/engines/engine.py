"""Inference engines behind one interface: a file in, arrays out, and what ran in integers."""

import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mmptq.quantization import QuantizationError
from mmptq.utils.files import complete_file
from mmptq.utils.messages import first_line

from .packages import require_package


class Engine(ABC):
    """A file that an inference engine has loaded.

    A subclass in ``ENGINES`` is all that an engine needs; a backend names it in
    ``export.engine``. Its constructor takes ``path`` (str | Path), ``threads`` (int, 0 leaves it
    to the engine) and ``size`` (height and width, or None, where they are open in the file).

    Attributes:
        package (str): The Python package of the engine.
        install (str, optional): The command that installs it; None for ``pip install PACKAGE``.
        suffixes (tuple[str]): How files end that the engine reads.
        optional_at_export (bool): Whether a file may be exported where the engine is not
            installed. It is checked in float arithmetic only then.
        metadata (dict[str, Any]): What ``tools/export.py`` wrote into the file.
        output_names (list[str]): Of the file.
        input_shape (tuple[int | str, ...]): Of the file; a string where a dimension is open.
    """

    package: str
    install: str | None = None
    suffixes: tuple[str, ...] = ('.onnx',)
    optional_at_export = False

    metadata: dict[str, Any]
    input_shape: tuple[int | str, ...]
    output_names: list[str]

    @abstractmethod
    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """Outputs for one input, (B, C, H, W) float32."""

    def take_bytes(self) -> tuple[float, int] | None:
        """From now on take the integers that the file would round its input to.

        ``run`` then takes (B, H, W, C) uint8 in place of (B, C, H, W) float32.

        Returns:
            tuple: Scale and zero point of these integers; None where the engine, or the file, goes
            on taking floats.
        """
        return None

    @abstractmethod
    def count_layers(self) -> tuple[int, int]:
        """Weighted layers that run in integers, and in float, by the engine's own account."""

    @classmethod
    def require(cls) -> ModuleType:
        """Import the package of the engine.

        Raises:
            QuantizationError: If it is not installed; the message says how to install it.
        """
        return require_package(cls.package, cls.install)

    @classmethod
    def available(cls) -> bool:
        """Whether the engine is installed."""
        try:
            cls.require()
        except QuantizationError:
            return False
        return True

    @classmethod
    def write(cls, source: Path, path: Path) -> None:
        """Write an ONNX file in the format that a suffix of the engine asks for.

        Args:
            source (Path): The ONNX file.
            path (Path): Ends in one of ``suffixes``; appears only when it is complete.
        """
        with complete_file(path) as temporary:
            shutil.copyfile(source, temporary)

    @classmethod
    def read_metadata(cls, path: str | Path) -> dict[str, Any]:
        """Metadata of a file, without loading it into the engine.

        Raises:
            QuantizationError: If the file cannot be read.
        """
        try:
            model = require_package('onnx').load(path, load_external_data=False)
        except QuantizationError:
            raise
        except Exception as error:  # protobuf's own types
            raise unreadable(path, error) from error
        return parse_metadata({entry.key: entry.value for entry in model.metadata_props})


def run_engine(engine: Engine, x: np.ndarray) -> list[np.ndarray]:
    """``engine.run(x)``, whose errors become a sentence.

    Raises:
        QuantizationError: If the engine fails.
    """
    try:
        return engine.run(x)
    except QuantizationError:
        raise
    except Exception as error:  # each engine has types of its own
        name = type(engine).__name__.removesuffix('Engine')
        raise QuantizationError(
            f'{name} cannot run the file on an input of shape {tuple(x.shape)} '
            f'({first_line(error)}): export with --fixed-size, or for another backend'
        ) from error


def parse_metadata(entries: dict[str, str]) -> dict[str, Any]:
    """Metadata of a file, in which each value is JSON."""
    return {key: json.loads(value) for key, value in entries.items() if key != 'onnx.infer'}


def unreadable(path: str | Path, error: Exception) -> QuantizationError:
    """The error for a file that an engine refuses."""
    reason = ' '.join(str(error).split())[:300]
    return QuantizationError(
        f"'{path}' cannot be loaded ({reason}): export it again with tools/export.py"
    )
