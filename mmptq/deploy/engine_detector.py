"""A detector whose network runs in an inference engine, for the stock test loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmptq.deploy.end_to_end import METADATA_KEY as DETECTIONS
from mmptq.deploy.end_to_end import replace_predictions
from mmptq.deploy.engines import Engine, engine_of_file, engine_suffixes, open_engine, run_engine
from mmptq.quantization import QuantizationError

from .exported_subgraph import find_family, replace_subgraph
from .query_detector import batch_axis
from .raw_images import RawImages


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

    What the file does itself, normalisation or decoding, the detector leaves out.

    Args:
        detector (nn.Module): Built from the config that the file was exported with.
        engine (Engine): From ``open_engine_file``.
    """
    raw, axis = RawImages.from_metadata(engine.metadata), batch_axis(detector)
    if raw is not None:
        raw.keep_images_raw(detector.data_preprocessor)

    def run(x: Tensor) -> list[Tensor]:
        images = x.detach()
        if raw is not None:
            images = raw.fill_padding(images)
        outputs = run_batches(engine, images.cpu().numpy(), axis)
        return [torch.as_tensor(output, device=x.device) for output in outputs]

    detections = engine.metadata.get(DETECTIONS)
    if detections is None:
        replace_subgraph(detector, run, engine.metadata['structure'])
    else:
        replace_predictions(detector, run, detections['clips'])


@contextmanager
def engine_in_place(detector: nn.Module, engine: Engine) -> Iterator[None]:
    """Within this context an engine computes the network of a detector; then it is as before.

    Args:
        detector (nn.Module): See ``replace_with_engine``.
        engine (Engine): From ``open_engine_file``.
    """
    changed = detector, getattr(detector, find_family(detector)[2])
    attributes = [dict(vars(module)) for module in changed]
    modules = dict(detector._modules)
    replace_with_engine(detector, engine)
    try:
        yield
    finally:
        for module, own in zip(changed, attributes, strict=True):
            vars(module).clear()
            vars(module).update(own)
        detector._modules.clear()
        detector._modules.update(modules)


def run_batches(engine: Engine, images: np.ndarray, axis: int = 0) -> list[np.ndarray]:
    """Outputs of a file for any number of images.

    Args:
        engine (Engine): Where it takes a fixed number of images, they go through it in groups; the
            last group is filled with its last image.
        images (np.ndarray): (B, C, H, W).
        axis (int): Of the images in the outputs. Defaults to 0.
    """
    count = engine.input_shape[0]
    if not isinstance(count, int) or count == len(images):
        return run_engine(engine, images)
    groups = []
    for start in range(0, len(images), count):
        group = images[start : start + count]
        missing = count - len(group)
        filled = np.concatenate([group, group[-1:].repeat(missing, 0)])
        outputs = run_engine(engine, filled)
        groups.append([output.take(range(len(group)), axis) for output in outputs])
    return [np.concatenate(parts, axis) for parts in zip(*groups, strict=True)]
