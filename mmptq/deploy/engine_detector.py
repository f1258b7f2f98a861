"""A deployed file inside of its detector, so that the stock test loop scores the file itself."""

from pathlib import Path

import torch
from torch import Tensor, nn

from mmptq.deploy.engines.engines import Engine, open_engine
from mmptq.quantization import QuantizationError

from .exported_subgraph import replace_subgraph

SUFFIXES = ('.onnx', '.xml')


def is_engine_file(path: str | Path) -> bool:
    """Whether a path names a deployed file and not a checkpoint."""
    return str(path).endswith(SUFFIXES)


def open_engine_file(path: str | Path, engine: str | None = None, threads: int = 0) -> Engine:
    """Load a file that ``tools/export.py`` wrote.

    Args:
        path (str | Path): The file.
        engine (str, optional): The engine; default is the one that the file was made for.
        threads (int): 0 leaves it to the engine.

    Raises:
        QuantizationError: If it is missing, of another origin, or its engine is not installed.
    """
    if engine is None:
        engine = 'openvino' if str(path).endswith('.xml') else 'onnxruntime'
        opened = open_engine(engine, path, threads)
        wanted = opened.metadata.get('engine', engine)
        opened = opened if wanted == engine else open_engine(wanted, path, threads)
    else:
        opened = open_engine(engine, path, threads)
    if 'structure' not in opened.metadata:
        raise QuantizationError(
            f"'{path}' does not say how its outputs belong together: export it with tools/export.py"
        )
    return opened


def replace_with_engine(detector: nn.Module, engine: Engine) -> None:
    """Replace the network of a detector by a file; its pre- and post-processing stay.

    Args:
        detector (nn.Module): Built from the config that the file was exported with.
        engine (Engine): From ``open_engine_file``.
    """

    def run(x: Tensor) -> list[Tensor]:
        outputs = engine.run(x.detach().cpu().numpy())
        return [torch.from_numpy(output).to(x.device) for output in outputs]

    replace_subgraph(detector, run, engine.metadata['structure'])
