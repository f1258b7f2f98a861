"""A detector whose network runs in an inference engine, for the stock test loop."""

from pathlib import Path

import torch
from torch import Tensor, nn

from mmptq.deploy.engines import Engine, engine_of_file, engine_suffixes, open_engine, run_engine
from mmptq.quantization import QuantizationError

from .exported_subgraph import replace_subgraph


def is_engine_file(path: str | Path) -> bool:
    """Whether a path names a file for an engine and not a checkpoint."""
    return str(path).endswith(engine_suffixes())


def open_engine_file(path: str | Path, engine: str | None = None, threads: int = 0) -> Engine:
    """Load a file that ``tools/export.py`` wrote.

    Args:
        path (str | Path): The file.
        engine (str, optional): A name in ``ENGINES``; default is the one that the file was
            exported for.
        threads (int): 0 leaves it to the engine.

    Raises:
        QuantizationError: If it is missing, was not written by ``tools/export.py``, or its engine
            is not installed.
    """
    opened = open_engine(engine or engine_of_file(path), path, threads)
    if 'structure' not in opened.metadata:
        raise QuantizationError(
            f"'{path}' does not say how its outputs nest: export it with tools/export.py"
        )
    return opened


def replace_with_engine(detector: nn.Module, engine: Engine) -> None:
    """Replace the network of a detector by an engine; its pre- and post-processing stay.

    Args:
        detector (nn.Module): Built from the config that the file was exported with.
        engine (Engine): From ``open_engine_file``.
    """

    def run(x: Tensor) -> list[Tensor]:
        outputs = run_engine(engine, x.detach().cpu().numpy())
        return [torch.as_tensor(output, device=x.device) for output in outputs]

    replace_subgraph(detector, run, engine.metadata['structure'])
