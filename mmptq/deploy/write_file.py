"""The last steps of an export: the form of the file, its checks in the engine, and its writing."""

import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch

from mmptq.deploy.end_to_end import (
    METADATA_KEY,
    DenseDecoding,
    attach_decoding,
    check_detections,
)
from mmptq.deploy.engines import find_engine

from .engine_check import EngineCheck
from .metadata import add_metadata, check_model
from .onnx_export import open_axes

PARITY_SAMPLES = 4


@torch.no_grad()
def write_file(
    model: onnx.ModelProto,
    check: EngineCheck,
    path: Path,
    metadata: dict[str, Any],
    decoding: DenseDecoding | None = None,
) -> list[dict[str, Any]]:
    """Give a network its form, and write it after a check in its engine.

    Args:
        model (onnx.ModelProto): From the input of the network to its raw head outputs.
        check (EngineCheck): Knows the engine, the form and the samples.
        path (Path): Appears only when it is complete.
        metadata (dict): Plain data to store in the file.
        decoding (DenseDecoding, optional): What is put behind the head outputs.

    Returns:
        list[dict]: The parity table of the head outputs.

    Raises:
        QuantizationError: If the engine fails or computes something else; nothing is written.
    """
    if check.form.raw is not None:
        check.form.raw.attach(model)
    add_metadata(model, metadata)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'model.onnx')
        onnx.save(model, file)
        rows = check.check(file)
        axes = _open_axes(check, file)
        fix_axes(model, check.inputs[0].shape, axes)
        if decoding is not None:
            found, simulated = check.outputs(file), check.outputs(file, simulated=True)
            raw = tuple(check.subgraph(check.inputs[0]))
            attach_decoding(model, decoding, check.inputs[0], raw, axes)
            check_model(model)
            onnx.save(model, file)
            add_metadata(model, {METADATA_KEY: _compare(check, decoding, file, found, simulated)})
        onnx.save(model, file)
        find_engine(check.engine).write(file, path)
    return rows


def _compare(
    check: EngineCheck, decoding: DenseDecoding, file: Path, head_outputs: list, simulated: list
) -> dict[str, Any]:
    sizes = [tuple(x.shape[-2:]) for x in check.inputs]
    shares = check_detections(
        decoding, check.subgraph.structure, check.outputs(file), head_outputs, simulated, sizes
    )
    return dict(
        boxes='(B, N, 4) x1 y1 x2 y2 in pixels of the input',
        scores='(B, N), the best first; 0 where there is no detection',
        labels='(B, N) index of the class; -1 where there is no detection',
        clips=decoding.clips,
        **vars(decoding.suppression),
        check=shares,
    )


def _open_axes(check: EngineCheck, file: Path) -> dict[int, str]:
    """The axes of the input that may stay open; those of a file without decoding are checked."""
    form = check.form
    size = form.dynamic and check.takes_other_sizes(file)
    return open_axes(size, form.open_batch and check.takes_two_images(file))


def fix_axes(model: onnx.ModelProto, shape: tuple[int, ...], axes: dict[int, str]) -> None:
    """Fix the open axes of a file that are not among ``axes``, in place.

    Args:
        model (onnx.ModelProto): With one input.
        shape (tuple[int]): What the input gets there.
        axes (dict[int, str]): Open axes.
    """
    fixed = {name: shape[axis] for axis, name in open_axes(True, True).items() if axis not in axes}
    for entry in (*model.graph.input, *model.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if dim.dim_param in fixed:
                dim.dim_value = fixed[dim.dim_param]
